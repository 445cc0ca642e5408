"""The networks: encoder, decoder, classifier, sparse autoencoder."""
