"""The package's models as scikit-learn's estimators: for Pipeline, GridSearchCV, cross-validation and whatever else takes them."""

from unlabeled.estimators.autoencoding import ConvAutoEncoderTransformer as ConvAutoEncoderTransformer
from unlabeled.estimators.classifying import ConvNetClassifier as ConvNetClassifier
from unlabeled.estimators.classifying import SelfTrainedClassifier as SelfTrainedClassifier
from unlabeled.estimators.patches import SparsePatchTransformer as SparsePatchTransformer

__all__ = ["ConvAutoEncoderTransformer", "ConvNetClassifier", "SelfTrainedClassifier", "SparsePatchTransformer"]
