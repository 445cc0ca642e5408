/* Changes of training images, uint8, batch by batch: what NumPy does in many passes over copies is done in one here.

   The numbers are NumPy's to the last bit, so that a training has the same bytes with and without. No compiler may therefore join a
   product and a sum to one operation that rounds once: what lies between two SETTLED statements is in memory, as arrays of NumPy are. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SETTLED __asm__ volatile("" ::: "memory")
#define TURNS 7 /* numbers of an affine map: four of the matrix, its factor, what is added to columns and to rows */
#define TONES 256

/* Filled by the caller, all int64: images, channels, sides. */
typedef struct {
  int64_t n, c, h, w;
} batch;

static int64_t nearest(float at, int64_t last) {
  const float whole = rintf(at);
  return !(whole > 0) ? 0 : whole >= (float)last ? last : (int64_t)whole; /* what is no number is 0 too */
}

/* Where the pixels of an image come from that is turned: from (x, y), measured from the middle, by the map. */
static void turn(const batch *b, const int64_t *rows, const int64_t *columns, const float *map, float *scratch, int64_t *places) {
  const float middle_x = (float)((double)(b->w - 1) / 2), middle_y = (float)((double)(b->h - 1) / 2);
  float *xx = scratch, *yx = xx + b->w, *xy = yx + b->w, *yy = xy + b->h, *from_x = yy + b->h, *from_y = from_x + b->w;
  for (int64_t i = 0; i < b->w; i++) {
    const float x = (float)columns[i] - middle_x;
    xx[i] = map[0] * x, yx[i] = map[2] * x;
  }
  for (int64_t i = 0; i < b->h; i++) {
    const float y = (float)rows[i] - middle_y;
    xy[i] = map[1] * y, yy[i] = map[3] * y;
  }
  SETTLED;
  for (int64_t row = 0; row < b->h; row++) {
    for (int64_t i = 0; i < b->w; i++) from_x[i] = map[4] * (xx[i] + xy[row]), from_y[i] = map[4] * (yx[i] + yy[row]);
    SETTLED;
    for (int64_t i = 0; i < b->w; i++)
      places[row * b->w + i] = nearest(from_y[i] + middle_y + map[6], b->h - 1) * b->w + nearest(from_x[i] + middle_x + map[5], b->w - 1);
  }
}

/* Images (n, c, h, w) as (n, h, w, c): each pixel from its row (n, h) and column (n, w), or from where its map (n, TURNS) says if
   `turned` (n) is not 0. */
int move_pixels(const batch *b, const uint8_t *images, const int64_t *rows, const int64_t *columns, const float *maps, const uint8_t *turned,
                uint8_t *moved) {
  const int64_t cells = b->h * b->w;
  int64_t *places = malloc((size_t)cells * sizeof *places + (size_t)(4 * b->w + 2 * b->h) * sizeof(float));
  if (!places) return 1;
  for (int64_t image = 0; image < b->n; image++, rows += b->h, columns += b->w) {
    if (turned[image]) turn(b, rows, columns, maps + image * TURNS, (float *)(places + cells), places);
    else
      for (int64_t row = 0; row < b->h; row++)
        for (int64_t i = 0; i < b->w; i++) places[row * b->w + i] = rows[row] * b->w + columns[i];
    const uint8_t *from = images + image * b->c * cells;
    uint8_t *to = moved + image * b->c * cells;
    if (b->c == 3) {
      const uint8_t *second = from + cells, *third = second + cells;
      for (int64_t i = 0; i < cells; i++, to += 3) to[0] = from[places[i]], to[1] = second[places[i]], to[2] = third[places[i]];
    } else {
      for (int64_t i = 0; i < cells; i++)
        for (int64_t c = 0; c < b->c; c++) *to++ = from[c * cells + places[i]];
    }
  }
  free(places);
  return 0;
}

/* How often each tone stands in each channel of the images `chosen` (m), of (n, h, w, c): (m, c, TONES). */
int count_tones(const batch *b, const uint8_t *images, const int64_t *chosen, int64_t m, int64_t *counts) {
  const int64_t size = b->h * b->w * b->c;
  memset(counts, 0, (size_t)(m * b->c * TONES) * sizeof *counts);
  for (int64_t k = 0; k < m; k++, counts += b->c * TONES) {
    const uint8_t *image = images + chosen[k] * size;
    for (int64_t i = 0; i < size; i += b->c)
      for (int64_t c = 0; c < b->c; c++) counts[c * TONES + image[i + c]]++;
  }
  return 0;
}

/* Each pixel of the images `chosen` (m) through its image's and channel's table (m, c, TONES), in place. */
int tone_pixels(const batch *b, uint8_t *images, const int64_t *chosen, int64_t m, const uint8_t *tables) {
  const int64_t size = b->h * b->w * b->c;
  for (int64_t k = 0; k < m; k++, tables += b->c * TONES) {
    uint8_t *image = images + chosen[k] * size;
    for (int64_t i = 0; i < size; i += b->c)
      for (int64_t c = 0; c < b->c; c++) image[i + c] = tables[c * TONES + image[i + c]];
  }
  return 0;
}

/* The images `chosen` (m) of three channels, in place: away from their grey values (m, h, w) by a factor (m), then each channel by its
   gain (m, 3). */
int mix_colours(const batch *b, uint8_t *images, const int64_t *chosen, int64_t m, const float *grey, const float *factor, const float *gain) {
  const int64_t cells = b->h * b->w;
  float *away = malloc((size_t)(3 * cells) * sizeof *away);
  if (!away) return 1;
  for (int64_t k = 0; k < m; k++, grey += cells, gain += 3) {
    uint8_t *image = images + chosen[k] * 3 * cells;
    for (int64_t i = 0; i < cells; i++)
      for (int64_t c = 0; c < 3; c++) away[3 * i + c] = ((float)image[3 * i + c] - grey[i]) * factor[k];
    SETTLED;
    for (int64_t i = 0; i < cells; i++)
      for (int64_t c = 0; c < 3; c++) {
        const float mixed = (away[3 * i + c] + grey[i]) * gain[c];
        image[3 * i + c] = (uint8_t)rintf(mixed < 0 ? 0 : mixed > 255 ? 255 : mixed);
      }
    SETTLED;
  }
  free(away);
  return 0;
}

/* A square of one value in each image, from a row and a column (n), which may lie outside, so many pixels each way. */
int cut_squares(const batch *b, uint8_t *images, const int64_t *rows, const int64_t *columns, int64_t side, int64_t value) {
  for (int64_t image = 0; image < b->n; image++, images += b->h * b->w * b->c) {
    const int64_t top = rows[image] < 0 ? 0 : rows[image], left = columns[image] < 0 ? 0 : columns[image];
    const int64_t bottom = rows[image] + side < b->h ? rows[image] + side : b->h;
    const int64_t right = columns[image] + side < b->w ? columns[image] + side : b->w;
    for (int64_t row = top; row < bottom && left < right; row++)
      memset(images + (row * b->w + left) * b->c, (int)value, (size_t)((right - left) * b->c));
  }
  return 0;
}
