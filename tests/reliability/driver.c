/* Random blocks through the kernels, in buffers of the exact size, against a plain loop. Whole numbers, so that sums are exact.
   Usage: driver BLOCKS SEED. Built with sanitizers by sanitizers.py. */
#include "blocks.c"
#include "pixels.c"
#include <stdio.h>

static uint64_t seed;
static int64_t draw(int64_t least, int64_t most) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return least + (int64_t)((seed >> 33) % (uint64_t)(most - least + 1));
}
static float *numbers(int64_t n, int64_t most) {
  float *made = malloc((size_t)(n ? n : 1) * sizeof(float));
  for (int64_t i = 0; i < n; i++) made[i] = (float)draw(-most, most);
  return made;
}
static float *room(int64_t n) {
  float *made = malloc((size_t)(n ? n : 1) * sizeof(float));
  for (int64_t i = 0; i < n; i++) made[i] = -777;
  return made;
}
static int differs(const char *what, const float *a, const float *b, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (a[i] != b[i]) { printf("%s differs at %ld: %g, %g\n", what, (long)i, a[i], b[i]); return 1; }
  return 0;
}

static int trial(void) {
  block b = {.n = draw(1, 5), .c = draw(1, 20), .kh = draw(1, 5), .kw = draw(1, 5), .f = draw(1, 36), .sh = draw(1, 4), .sw = draw(1, 4)};
  if (b.sh * b.sw == 1) b.sw = 2;
  b.ph = draw(0, b.kh - 1), b.pw = draw(0, b.kw - 1), b.oh = draw(1, 4), b.ow = draw(1, 4), b.threads = draw(1, 4);
  b.h = b.oh * b.sh + b.kh - 1 - 2 * b.ph + draw(0, b.sh - 1), b.w = b.ow * b.sw + b.kw - 1 - 2 * b.pw + draw(0, b.sw - 1);
  if (b.h < 1 || b.w < 1) return 0;
  const int64_t strides[4] = {b.c * b.kh * b.kw, b.kh * b.kw, b.kw, 1};
  memcpy(b.filter_strides, strides, sizeof strides);
  const int64_t image = b.h * b.w * b.c, code = b.oh * b.ow * b.f, filters = b.f * b.c * b.kh * b.kw, relu = draw(0, 1);
  float *x = numbers(b.n * image, 3), *w = numbers(filters, 2), *bias = numbers(b.f, 2), *back = numbers(b.c, 2);
  float *values = room(b.n * code), *plain = room(b.n * code), *out = room(b.n * image), *undone = calloc((size_t)(b.n * image), 4);
  float *of_w = room(filters), *of_w2 = calloc((size_t)filters, 4), *of_bias = room(b.f), *of_bias2 = calloc((size_t)b.f, 4);
  uint8_t *places = malloc((size_t)(b.n * code));
  int wrong = encode(&b, x, w, bias, (int)relu, values, places);
  /* The definition: of every window the first of the greatest. */
  for (int64_t at = 0; at < b.n * code; at++) {
    const int64_t n = at / code, y = at % code / (b.ow * b.f), c = at / b.f % b.ow, f = at % b.f;
    float best = -1e30f;
    int64_t place = 0;
    for (int64_t p = 0; p < b.sh * b.sw; p++) {
      float sum = bias[f];
      for (int64_t i = 0; i < b.kh * b.kw * b.c; i++) {
        const int64_t row = y * b.sh + p / b.sw + i / (b.kw * b.c) - b.ph, column = c * b.sw + p % b.sw + i / b.c % b.kw - b.pw;
        if (row >= 0 && row < b.h && column >= 0 && column < b.w)
          sum += x[n * image + (row * b.w + column) * b.c + i % b.c] * filter(&b, w, f, i % b.c, i / (b.kw * b.c), i / b.c % b.kw);
      }
      if (relu && sum < 0) sum = 0;
      if (sum > best) best = sum, place = p;
    }
    plain[at] = best;
    if (places[at] != place) { printf("place %d instead of %d\n", places[at], (int)place); wrong = 1; }
    /* and its way back, and the filters' gradient, for the same values */
    const float value = values[at], open = relu && value <= 0 ? 0 : value;
    of_bias2[f] += open;
    for (int64_t i = 0; i < b.kh * b.kw * b.c; i++) {
      const int64_t row = y * b.sh + place / b.sw + i / (b.kw * b.c) - b.ph, column = c * b.sw + place % b.sw + i / b.c % b.kw - b.pw;
      if (row < 0 || row >= b.h || column < 0 || column >= b.w) continue;
      const int64_t cell = n * image + (row * b.w + column) * b.c + i % b.c;
      undone[cell] += value * filter(&b, w, f, i % b.c, i / (b.kw * b.c), i / b.c % b.kw);
      of_w2[f * strides[0] + i % b.c * strides[1] + i / (b.kw * b.c) * b.kw + i / b.c % b.kw] += open * x[cell];
    }
  }
  for (int64_t i = 0; i < b.n * image; i++) undone[i] += back[i % b.c];
  wrong |= scatter(&b, values, NULL, places, w, back, 0, out);
  wrong |= gather(&b, x, NULL, values, relu ? values : NULL, places, NULL, 0, of_w, of_bias, NULL, NULL);
  wrong |= differs("encode", values, plain, b.n * code) | differs("scatter", out, undone, b.n * image);
  wrong |= differs("gather, filters", of_w, of_w2, filters) | differs("gather, bias", of_bias, of_bias2, b.f);
  float *dots = room(b.n * code), *of_map = room(b.c);
  wrong |= gather(&b, x, x, values, NULL, places, w, (int)relu, of_w, NULL, dots, of_map);
  free(x), free(w), free(bias), free(back), free(values), free(plain), free(out), free(undone), free(of_w), free(of_w2), free(of_bias);
  free(of_bias2), free(places), free(dots), free(of_map);
  if (wrong) printf("n %ld c %ld %ldx%ld f %ld kernel %ldx%ld pool %ldx%ld\n", (long)b.n, (long)b.c, (long)b.h, (long)b.w, (long)b.f,
                    (long)b.kh, (long)b.kw, (long)b.sh, (long)b.sw);
  return wrong;
}

static float widened(uint16_t half) {
  const uint32_t upper = (uint32_t)half << 16;
  float number;
  memcpy(&number, &upper, sizeof number);
  return number;
}
static uint16_t *halves(int64_t n, int64_t most) {
  uint16_t *made = malloc((size_t)(n ? n : 1) * sizeof(uint16_t));
  for (int64_t i = 0; i < n; i++) {
    const float number = (float)draw(-most, most);
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    made[i] = (uint16_t)(bits >> 16); /* whole numbers up to 256 lose nothing */
  }
  return made;
}
static int far(const char *what, double a, double b) {
  if (a - b < 0.02 * (1 + (b < 0 ? -b : b)) && b - a < 0.02 * (1 + (b < 0 ? -b : b))) return 0;
  printf("%s: %g, %g\n", what, a, b);
  return 1;
}

/* Maps in half precision. */
static int trial_of_halves(void) {
  block b = {.n = draw(1, 5), .f = draw(1, 40), .h = draw(1, 7), .w = draw(1, 7), .kh = 1, .kw = 1, .sh = 2, .sw = 2, .threads = draw(1, 4)};
  b.c = b.f, b.oh = b.h / 2, b.ow = b.w / 2;
  const int64_t all = b.n * b.h * b.w * b.f, code = b.n * b.oh * b.ow * b.f;
  uint16_t *x = halves(all, 3), *gradient = halves(all, 3), *out = halves(all, 0), *values = halves(code, 0), *back = halves(all, 0);
  uint8_t *places = malloc((size_t)(code ? code : 1));
  float *scale = numbers(b.f, 2), *shift = numbers(b.f, 2), *mean = room(b.f), *variance = room(b.f), *sums = room(b.f), *products = room(b.f);
  int wrong = code ? halve(&b, x, values, places) | spread(&b, values, places, back) : 0;
  for (int64_t at = 0; at < code; at++) {
    const int64_t n = at / (b.oh * b.ow * b.f), y = at / (b.ow * b.f) % b.oh, c = at / b.f % b.ow, f = at % b.f;
    float best = -1e30f;
    for (int64_t p = 0; p < 4; p++) {
      const int64_t cell = ((n * b.h + 2 * y + p / 2) * b.w + 2 * c + p % 2) * b.f + f;
      if (widened(x[cell]) > best) best = widened(x[cell]);
      wrong |= far("spread", widened(back[cell]), p == places[at] ? widened(values[at]) : 0);
    }
    wrong |= far("halve", widened(values[at]), best);
  }
  wrong |= moments(&b, x, mean, variance) | normalise(&b, x, draw(0, 1) ? gradient : NULL, scale, shift, out);
  wrong |= collect(&b, x, gradient, scale, shift, mean, sums, products) | hand_back(&b, x, gradient, scale, shift, mean, sums, products, back);
  for (int64_t f = 0; f < b.f; f++) {
    double sum = 0, squares = 0, open = 0;
    for (int64_t i = f; i < all; i += b.f) {
      sum += widened(x[i]), squares += widened(x[i]) * widened(x[i]);
      if (widened(x[i]) * scale[f] + shift[f] > 0) open += widened(gradient[i]);
    }
    const double rows = (double)(all / b.f);
    wrong |= far("mean", mean[f], sum / rows) | far("variance", variance[f], squares / rows - sum / rows * sum / rows) | far("collect", sums[f], open);
  }
  free(x), free(gradient), free(out), free(values), free(back), free(places), free(scale), free(shift), free(mean), free(variance);
  free(sums), free(products);
  if (wrong) printf("halves: n %ld %ldx%ldx%ld\n", (long)b.n, (long)b.h, (long)b.w, (long)b.f);
  return wrong;
}

/* Images from memory of the exact size: moved nowhere they are as they were, tones are counted and replaced, squares stay inside. */
static int trial_of_pixels(void) {
  const batch b = {.n = draw(1, 5), .c = draw(0, 1) ? 3 : draw(1, 4), .h = draw(1, 12), .w = draw(1, 12)};
  const int64_t cells = b.h * b.w, all = b.n * b.c * cells, m = draw(1, b.n), side = draw(1, 6);
  uint8_t *images = malloc((size_t)all), *moved = malloc((size_t)all), *tables = malloc((size_t)(m * b.c * TONES)), *turned = malloc((size_t)b.n);
  int64_t *rows = malloc((size_t)(b.n * b.h) * 8), *columns = malloc((size_t)(b.n * b.w) * 8), *chosen = malloc((size_t)m * 8);
  int64_t *counts = malloc((size_t)(m * b.c * TONES) * 8), *tops = malloc((size_t)b.n * 8), *lefts = malloc((size_t)b.n * 8);
  float *maps = numbers(b.n * TURNS, 3), *grey = numbers(m * cells, 255), *factor = numbers(m, 2), *gain = numbers(3 * m, 2);
  for (int64_t i = 0; i < all; i++) images[i] = (uint8_t)draw(0, 255);
  for (int64_t i = 0; i < b.n * b.h; i++) rows[i] = i % b.h;
  for (int64_t i = 0; i < b.n * b.w; i++) columns[i] = i % b.w;
  for (int64_t i = 0; i < b.n; i++) turned[i] = (uint8_t)draw(0, 1), tops[i] = draw(-8, b.h + 2), lefts[i] = draw(-8, b.w + 2);
  for (int64_t i = 0; i < m; i++) chosen[i] = i;
  for (int64_t i = 0; i < m * b.c * TONES; i++) tables[i] = (uint8_t)(255 - i % TONES);
  int wrong = move_pixels(&b, images, rows, columns, maps, turned, moved) | count_tones(&b, moved, chosen, m, counts);
  for (int64_t i = 0; i < all; i++) {
    const int64_t image = i / (b.c * cells), c = i % b.c, at = i / b.c % cells;
    if (!turned[image] && moved[i] != images[(image * b.c + c) * cells + at]) wrong = 1;
    if (image < m) counts[(image * b.c + c) * TONES + moved[i]]--;
  }
  for (int64_t i = 0; i < m * b.c * TONES; i++) wrong |= counts[i] != 0;
  memcpy(images, moved, (size_t)all);
  wrong |= tone_pixels(&b, moved, chosen, m, tables);
  for (int64_t i = 0; i < all; i++) wrong |= moved[i] != (i < m * b.c * cells ? 255 - images[i] : images[i]);
  if (b.c == 3) wrong |= mix_colours(&b, moved, chosen, m, grey, factor, gain);
  memcpy(images, moved, (size_t)all);
  wrong |= cut_squares(&b, moved, tops, lefts, side, 128);
  for (int64_t i = 0; i < all; i++) {
    const int64_t image = i / (b.c * cells), row = i / (b.c * b.w) % b.h - tops[image], column = i / b.c % b.w - lefts[image];
    wrong |= moved[i] != (row >= 0 && row < side && column >= 0 && column < side ? 128 : images[i]);
  }
  free(images), free(moved), free(tables), free(turned), free(rows), free(columns), free(chosen), free(counts), free(tops), free(lefts);
  free(maps), free(grey), free(factor), free(gain);
  if (wrong) printf("pixels: n %ld %ldx%ldx%ld\n", (long)b.n, (long)b.c, (long)b.h, (long)b.w);
  return wrong;
}

int main(int count, char **given) {
  const long blocks = count > 1 ? atol(given[1]) : 50;
  seed = count > 2 ? (uint64_t)atol(given[2]) * 2654435761u + 1 : 1;
  int wrong = 0;
  for (long i = 0; i < blocks; i++) wrong += trial() | trial_of_halves() | trial_of_pixels();
  printf("%ld blocks, %d wrong\n", blocks, wrong);
  return wrong != 0;
}
