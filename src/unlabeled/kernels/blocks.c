/* A block of convolution and max-pool, and its inverse, without the full map between the two.

   The pool's windows do not overlap, so of each window one cell counts: the winner, named by a "place", one byte that
   numbers the cells of a window row by row. Only the convolution's way forward is dense. All other products touch
   winners alone and need a share of 1 / (cells of a window) of the operations:

     encode    values and places from images                               (dense)
     scatter   every value times its filter, added around its winner       (decoding; the images' gradient)
     gather    what lies around every winner: times the value, summed      (the filters' gradient)
               and times the filter, summed                                (the values' gradient)

   Maps are float (n, h, w, channels) without gaps; filters (f, c, kh, kw) with any strides. An image is worked on by one
   thread. Sums over images go by chunks of fixed size, added in a fixed order: the result has the same bytes for any
   number of threads. Vectors are those of GCC and Clang, as long as the processor's registers. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

/* As many floats as a register holds: GCC keeps longer vectors in memory, and spreads a number over one by one.
   The dense product works on TILE cells of the map and two vectors of filters at a time, so that its sums fill the registers. */
#if defined(__AVX512F__)
#define LANES 16
#define TILE 8
#elif defined(__AVX2__)
#define LANES 8
#define TILE 6
#else
#define LANES 4
#define TILE 6
#endif
#define WIDE 16 /* channels from which on a map's vectors are of channels */
#define MOST_CHUNKS 16
#define MOST_PLACES 16
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t hvec __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef uint8_t bvec __attribute__((vector_size(LANES), aligned(1), may_alias));

/* Filled by the caller, all int64: images, channels, sides; filters, kernel, padding; windows and their number. */
typedef struct {
  int64_t n, c, h, w, f, kh, kw, ph, pw, sh, sw, oh, ow;
  int64_t filter_strides[4];
  int64_t threads;
  void (*team)(void (*)(void *), void *, unsigned, unsigned); /* OpenMP's way to start a team, or null */
} block;

/* Sizes that follow. "Wide" maps have channels enough to fill vectors with; narrow ones are taken as rows of floats. */
typedef struct {
  int64_t cells, places, filters, vectors, taps, run, channels, row, rows, slack;
  int wide;
} sizes;

INLINE int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }
INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }
INLINE vec select_(ivec mask, vec a, vec b) { return (vec)(((ivec)a & mask) | ((ivec)b & ~mask)); }

static sizes measure(const block *b) {
  sizes s;
  s.wide = b->c >= WIDE;
  s.cells = b->oh * b->ow;
  s.places = b->sh * b->sw;
  s.filters = up(b->f, LANES);
  s.vectors = s.filters / LANES;
  s.channels = s.wide ? up(b->c, LANES) : b->c;
  s.run = b->kw * s.channels;
  s.taps = b->kh * s.run;
  s.row = (b->w + 2 * b->pw) * s.channels;
  s.rows = b->h + 2 * b->ph;
  s.slack = 64; /* floats that may be read behind the last row */
  return s;
}

INLINE float filter(const block *b, const float *w, int64_t f, int64_t c, int64_t y, int64_t x) {
  const int64_t *s = b->filter_strides;
  return w[f * s[0] + c * s[1] + y * s[2] + x * s[3]];
}

/* ---- threads ---- */

typedef struct job job;
struct job {
  const block *b;
  sizes s;
  int64_t chunks, chunk; /* chunks, and images in each */
  int64_t scratch;       /* floats that a thread needs */
  atomic_llong next;
  atomic_int failed;
  void (*image)(const job *, int64_t image, int64_t chunk, float *scratch);
  const float *x, *opened, *w, *bias, *u, *gate, *packed;
  const uint8_t *q;
  float *out, *more, *parts;
  uint8_t *places;
  int64_t part; /* floats of a chunk's sums */
  int flag;
};

static void *work(void *argument) {
  job *j = argument;
  float *scratch = NULL;
  if (posix_memalign((void **)&scratch, 64, (size_t)j->scratch * sizeof(float))) {
    atomic_store(&j->failed, 1);
    return NULL;
  }
  for (;;) {
    int64_t chunk = atomic_fetch_add(&j->next, 1);
    if (chunk >= j->chunks) break;
    int64_t end = (chunk + 1) * j->chunk < j->b->n ? (chunk + 1) * j->chunk : j->b->n;
    if (j->parts) memset(j->parts + chunk * j->part, 0, (size_t)j->part * sizeof(float));
    for (int64_t i = chunk * j->chunk; i < end; i++) j->image(j, i, chunk, scratch);
  }
  free(scratch);
  return NULL;
}

static void work_in_team(void *argument) { work(argument); }

static int perform(job *j) {
  atomic_init(&j->next, 0);
  atomic_init(&j->failed, 0);
  int64_t threads = j->b->threads < j->chunks ? j->b->threads : j->chunks;
  pthread_t others[64];
  int64_t started = 0;
  if (threads > 64) threads = 64;
  if (threads > 1 && j->b->team) {
    j->b->team(work_in_team, j, (unsigned)threads, 0);
    return atomic_load(&j->failed);
  }
  while (started + 1 < threads && !pthread_create(&others[started], NULL, work, j)) started++;
  work(j);
  while (started) pthread_join(others[--started], NULL);
  return atomic_load(&j->failed);
}

static job plan(const block *b, int64_t chunk) {
  job j;
  memset(&j, 0, sizeof j);
  j.b = b;
  j.s = measure(b);
  j.chunk = chunk;
  j.chunks = b->n ? (b->n + chunk - 1) / chunk : 0;
  return j;
}

/* ---- an image with its border, its values and their places ---- */

/* Copy numbers that are positive, and what is no number; zeros for others. */
INLINE void copy_positive(float *to, const float *from, int64_t n) {
  for (int64_t i = 0; i < n; i++) to[i] = from[i] <= 0 ? 0 : from[i];
}

/* Copy numbers, but zeros where a gate is closed, if there is one. */
INLINE void copy_open(float *to, const float *from, const float *gate, int64_t n) {
  if (!gate)
    memcpy(to, from, (size_t)n * sizeof(float));
  else
    for (int64_t i = 0; i < n; i++) to[i] = gate[i] <= 0 ? 0 : from[i];
}

static void pad(const job *j, int64_t image, float *padded) {
  const block *b = j->b;
  const sizes *s = &j->s;
  memset(padded, 0, (size_t)(s->rows * s->row + s->slack) * sizeof(float));
  for (int64_t y = 0; y < b->h; y++) {
    float *to = padded + (y + b->ph) * s->row + b->pw * s->channels;
    const int64_t at = (image * b->h + y) * b->w * b->c;
    const float *from = j->x + at, *gate = j->opened ? j->opened + at : NULL;
    if (s->channels == b->c)
      copy_open(to, from, gate, b->w * b->c);
    else
      for (int64_t x = 0; x < b->w; x++) copy_open(to + x * s->channels, from + x * b->c, gate ? gate + x * b->c : NULL, b->c);
  }
}

/* An image's values [cell][filters, padded], zero where the gate is closed, their sum a filter if wanted, and their places;
   returns whether all are finite (a sum that is not says no as well). */
static int take_values(const job *j, int64_t image, float *values, uint8_t *places, float *sums) {
  const int64_t f = j->b->f, filters = j->s.filters;
  ivec odd = {0};
  for (int64_t v = 0; v < filters; v += LANES) {
    const size_t some = (size_t)(f - v < LANES ? f - v : LANES);
    vec sum = {0};
    for (int64_t cell = 0; cell < j->s.cells; cell++) {
      const int64_t at = (image * j->s.cells + cell) * f + v;
      vec value = {0}, gate = {0};
      bvec place = {0};
      if (some == LANES) {
        value = load(j->u + at);
        place = *(const bvec *)(j->q + at);
        if (j->gate) gate = load(j->gate + at);
      } else {
        memcpy(&value, j->u + at, some * sizeof(float));
        memcpy(&place, j->q + at, some);
        if (j->gate) memcpy(&gate, j->gate + at, some * sizeof(float));
      }
      if (j->gate) value = (vec)((ivec)value & ~(gate <= 0));
      sum += value;
      store(values + cell * filters + v, value);
      *(bvec *)(places + cell * filters + v) = place;
    }
    if (sums) store(sums + v, load(sums + v) + sum);
    odd |= sum - sum != 0;
  }
  int found = 0;
  for (int i = 0; i < LANES; i++) found |= odd[i] != 0;
  return !found;
}

/* Where windows lie in a padded wide map, and a window's places from its first. */
typedef struct {
  int32_t *windows, *places;
} offsets;

static int64_t offset_floats(const job *j) { return up(j->s.cells + 16, LANES); }

static offsets list_offsets(const job *j, float *scratch) {
  const block *b = j->b;
  const sizes *s = &j->s;
  offsets o;
  o.windows = (int32_t *)scratch;
  o.places = o.windows + s->cells;
  for (int64_t i = 0; i < s->cells; i++)
    o.windows[i] = (int32_t)(i / b->ow * b->sh * s->row + i % b->ow * b->sw * s->channels);
  for (int64_t p = 0; p < s->places; p++) o.places[p] = (int32_t)(p / b->sw * s->row + p % b->sw * s->channels);
  return o;
}

/* A cell where a filter's winner has a value. */
typedef struct {
  int32_t at, cell;
  float value;
} winner;

/* One filter's winners, those of value zero only if all are wanted; returns the end of the list. */
INLINE winner *list_winners(const job *j, const float *values, const uint8_t *places, offsets o, int all, winner *list) {
  for (int64_t cell = 0; cell < j->s.cells; cell++) {
    const float value = values[cell * j->s.filters];
    *list = (winner){o.windows[cell] + o.places[places[cell * j->s.filters]], (int32_t)cell, value};
    list += all || value != 0;
  }
  return list;
}

/* Go through a kernel in parts whose sizes the compiler knows, so that sums stay in registers; parts of several rows are as
   wide as the kernel. */
#define FOR_KERNEL_PARTS(B, BODY)                                                                                     \
  for (int64_t y = 0, rows; y < (B)->kh; y += rows) {                                                                  \
    rows = (B)->kw == 3 && (B)->kh - y >= 3 ? 3 : (B)->kw == 2 && (B)->kh - y >= 2 ? 2 : 1;                             \
    for (int64_t x = 0, cols; x < (B)->kw; x += cols) {                                                                \
      cols = rows > 1 ? rows : (B)->kw - x >= 5 ? 5 : (B)->kw - x >= 3 ? 3 : 1;                                        \
      BODY                                                                                                             \
    }                                                                                                                  \
  }
#define BY_KERNEL_PART(WORK)                                                                                           \
  do {                                                                                                                 \
    if (rows == 3)                                                                                                     \
      WORK(3, 3);                                                                                                      \
    else if (rows == 2)                                                                                                \
      WORK(2, 2);                                                                                                      \
    else if (cols == 5)                                                                                                \
      WORK(1, 5);                                                                                                      \
    else if (cols == 3)                                                                                                \
      WORK(1, 3);                                                                                                      \
    else                                                                                                               \
      WORK(1, 1);                                                                                                      \
  } while (0)

/* ---- filters in the order in which they are read ---- */

/* [vector of filters][tap][lane] */
static float *pack_by_filters(const job *j, const float *w) {
  const block *b = j->b;
  const sizes *s = &j->s;
  float *packed = NULL;
  if (posix_memalign((void **)&packed, 64, (size_t)(s->filters * s->taps) * sizeof(float))) return NULL;
  memset(packed, 0, (size_t)(s->filters * s->taps) * sizeof(float));
  for (int64_t f = 0; f < b->f; f++)
    for (int64_t y = 0; y < b->kh; y++)
      for (int64_t x = 0; x < b->kw; x++)
        for (int64_t c = 0; c < b->c; c++)
          packed[(f / LANES * s->taps + y * s->run + x * s->channels + c) * LANES + f % LANES] = filter(b, w, f, c, y, x);
  return packed;
}

/* [vector of channels][filter][place of the kernel][lane], for wide maps */
static float *pack_by_channels(const job *j, const float *w) {
  const block *b = j->b;
  const sizes *s = &j->s;
  const int64_t kernel = b->kh * b->kw;
  float *packed = NULL;
  if (posix_memalign((void **)&packed, 64, (size_t)(s->channels * kernel * b->f) * sizeof(float))) return NULL;
  memset(packed, 0, (size_t)(s->channels * kernel * b->f) * sizeof(float));
  for (int64_t f = 0; f < b->f; f++)
    for (int64_t c = 0; c < b->c; c++)
      for (int64_t y = 0; y < b->kh; y++)
        for (int64_t x = 0; x < b->kw; x++)
          packed[((c / LANES * b->f + f) * kernel + y * b->kw + x) * LANES + c % LANES] = filter(b, w, f, c, y, x);
  return packed;
}

/* [place of the winner][filter][what the winner's window can reach, flat], for narrow maps */
INLINE int64_t reach_row(const block *b) { return (b->sw + b->kw - 1) * b->c; }
INLINE int64_t reach(const block *b) { return up((b->sh + b->kh - 1) * reach_row(b), LANES); }

static float *pack_by_places(const job *j, const float *w) {
  const block *b = j->b;
  const int64_t size = reach(b), total = b->sh * b->sw * b->f * size;
  float *packed = NULL;
  if (posix_memalign((void **)&packed, 64, (size_t)total * sizeof(float))) return NULL;
  memset(packed, 0, (size_t)total * sizeof(float));
  for (int64_t dy = 0; dy < b->sh; dy++)
    for (int64_t dx = 0; dx < b->sw; dx++)
      for (int64_t f = 0; f < b->f; f++)
        for (int64_t y = 0; y < b->kh; y++)
          for (int64_t x = 0; x < b->kw; x++)
            for (int64_t c = 0; c < b->c; c++)
              packed[((dy * b->sw + dx) * b->f + f) * size + (dy + y) * reach_row(b) + (dx + x) * b->c + c] =
                  filter(b, w, f, c, y, x);
  return packed;
}

/* ---- encode ---- */

/* TILE cells of the map times NV vectors of filters. */
INLINE void multiply_tile(const int nv, const float *padded, const int64_t *at, const float *w, const float *bias,
                          const sizes *s, int64_t kh, float *to) {
  vec sum[TILE][2];
  const float *p[TILE];
  for (int i = 0; i < TILE; i++) {
    p[i] = padded + at[i];
    for (int v = 0; v < nv; v++) sum[i][v] = load(bias + v * LANES);
  }
  for (int64_t y = 0; y < kh; y++) {
    for (int64_t t = 0; t < s->run; t++) {
      vec filters[2];
      for (int v = 0; v < nv; v++) filters[v] = load(w + (v * s->taps + t) * LANES);
#pragma GCC unroll 8
      for (int i = 0; i < TILE; i++)
        for (int v = 0; v < nv; v++) sum[i][v] += filters[v] * p[i][t];
    }
    w += s->run * LANES;
    for (int i = 0; i < TILE; i++) p[i] += s->row;
  }
  for (int i = 0; i < TILE; i++)
    for (int v = 0; v < nv; v++) store(to + i * s->filters + v * LANES, sum[i][v]);
}

/* The largest of each window, the first of equal ones, or not a number if one is. Behind a relu, all that are not positive
   are equal. */
static void find_winners(const job *j, const float *map, float *values, uint8_t *places) {
  const sizes *s = &j->s;
  for (int64_t cell = 0; cell < j->b->ow; cell++)
    for (int64_t v = 0; v < s->vectors; v++) {
      const float *from = map + cell * s->places * s->filters + v * LANES;
      vec best = load(from);
      ivec winner = {0};
      for (int32_t place = 1; place < s->places; place++) {
        const vec other = load(from + place * s->filters);
        const ivec better = (other > best) | (other != other);
        best = select_(better, other, best);
        winner = (better & place) | (~better & winner);
      }
      if (j->flag) {
        const ivec closed = best <= 0;
        best = select_(closed, (vec){0}, best);
        winner &= ~closed;
      }
      const bvec bytes = __builtin_convertvector(winner, bvec);
      const int64_t left = j->b->f - v * LANES, at = cell * j->b->f + v * LANES;
      if (left >= LANES) {
        store(values + at, best);
        *(bvec *)(places + at) = bytes;
      } else {
        memcpy(values + at, &best, (size_t)left * sizeof(float));
        memcpy(places + at, &bytes, (size_t)left);
      }
    }
}

static void encode_image(const job *j, int64_t image, int64_t chunk, float *scratch) {
  const block *b = j->b;
  const sizes *s = &j->s;
  const int64_t cells = b->ow * s->places, tiles = up(cells, TILE);
  float *padded = scratch, *map = padded + up(s->rows * s->row + s->slack, LANES);
  int64_t *at = (int64_t *)(map + tiles * s->filters);
  (void)chunk;
  pad(j, image, padded);
  for (int64_t i = 0; i < tiles; i++) {
    const int64_t cell = i < cells ? i : cells - 1, place = cell % s->places;
    at[i] = place / b->sw * s->row + (cell / s->places * b->sw + place % b->sw) * s->channels;
  }
  for (int64_t y = 0; y < b->oh; y++) {
    const float *top = padded + y * b->sh * s->row;
    for (int64_t v = 0; v < s->vectors; v += 2)
      for (int64_t i = 0; i < tiles; i += TILE) {
        const float *w = j->packed + v * s->taps * LANES, *bias = j->bias + v * LANES;
        float *to = map + i * s->filters + v * LANES;
        if (v + 1 < s->vectors)
          multiply_tile(2, top, at + i, w, bias, s, b->kh, to);
        else
          multiply_tile(1, top, at + i, w, bias, s, b->kh, to);
      }
    const int64_t row = (image * b->oh + y) * b->ow * b->f;
    find_winners(j, map, j->out + row, j->places + row);
  }
}

int encode(const block *b, const float *x, const float *w, const float *bias, int relu, float *values, uint8_t *places) {
  job j = plan(b, b->n > 4 * MOST_CHUNKS ? 4 : 1);
  const int64_t tiles = up(b->ow * j.s.places, TILE);
  float *padded_bias = calloc((size_t)j.s.filters, sizeof(float));
  float *packed = pack_by_filters(&j, w);
  j.scratch = up(j.s.rows * j.s.row + j.s.slack, LANES) + tiles * j.s.filters + 2 * tiles;
  j.image = encode_image;
  j.x = x, j.out = values, j.places = places, j.flag = relu, j.packed = packed, j.bias = padded_bias;
  int failed = !padded_bias || !packed;
  if (!failed) {
    if (bias) memcpy(padded_bias, bias, (size_t)b->f * sizeof(float));
    failed = perform(&j);
  }
  free(padded_bias);
  free(packed);
  return failed;
}

/* ---- scatter ---- */

/* NB vectors of what a window reaches: every filter's, as its winner lies, times its value. */
INLINE void add_filters(const int nb, const float *packed, int64_t size, int64_t filters, const float *values,
                        const uint8_t *places, float *to) {
  vec even[6], odd[6];
  for (int v = 0; v < nb; v++) even[v] = odd[v] = (vec){0};
  const int64_t place = filters * size;
  int64_t f = 0;
  for (; f + 1 < filters; f += 2, packed += 2 * size) {
    const float *a = packed + places[f] * place, *b = packed + size + places[f + 1] * place;
    for (int v = 0; v < nb; v++) even[v] += load(a + v * LANES) * values[f];
    for (int v = 0; v < nb; v++) odd[v] += load(b + v * LANES) * values[f + 1];
  }
  if (f < filters) {
    const float *a = packed + places[f] * place;
    for (int v = 0; v < nb; v++) even[v] += load(a + v * LANES) * values[f];
  }
  for (int v = 0; v < nb; v++) store(to + v * LANES, even[v] + odd[v]);
}

/* Where a value is infinite or no number, the zeros around a packed filter would spread it over all that the window reaches:
   of each filter its own taps alone, then. */
__attribute__((noinline, cold)) static void add_taps_alone(const job *j, const float *values, const uint8_t *places, float *reached) {
  const block *b = j->b;
  const int64_t size = reach(b);
  memset(reached, 0, (size_t)size * sizeof(float));
  for (int64_t f = 0; f < b->f; f++)
    for (int64_t y = 0; y < b->kh; y++) {
      const int64_t from = (places[f] / b->sw + y) * reach_row(b) + places[f] % b->sw * b->c;
      const float *w = j->packed + (places[f] * b->f + f) * size;
      for (int64_t i = from; i < from + b->kw * b->c; i++) reached[i] += w[i] * values[f];
    }
}

static void scatter_narrow(const job *j, const float *values, const uint8_t *places, int finite, float *padded, float *reached) {
  const block *b = j->b;
  const sizes *s = &j->s;
  const int64_t size = reach(b), row = reach_row(b);
  ivec lane, last;
  for (int i = 0; i < LANES; i++) lane[i] = i;
  last = lane < (int32_t)((row - 1) % LANES + 1);
  for (int64_t y = 0; y < b->oh; y++)
    for (int64_t x = 0; x < b->ow; x++) {
      const float *u = values + (y * b->ow + x) * s->filters;
      const uint8_t *q = places + (y * b->ow + x) * s->filters;
      for (int64_t v = 0; v < size;) {
        const int64_t left = (size - v) / LANES, nb = left >= 6 ? 6 : left >= 3 ? 3 : left;
        if (nb == 6)
          add_filters(6, j->packed + v, size, b->f, u, q, reached + v);
        else if (nb == 3)
          add_filters(3, j->packed + v, size, b->f, u, q, reached + v);
        else if (nb == 2)
          add_filters(2, j->packed + v, size, b->f, u, q, reached + v);
        else
          add_filters(1, j->packed + v, size, b->f, u, q, reached + v);
        v += nb * LANES;
      }
      if (!finite) add_taps_alone(j, u, q, reached);
      for (int64_t r = 0; r < b->sh + b->kh - 1; r++) {
        float *to = padded + (y * b->sh + r) * s->row + x * b->sw * b->c;
        const float *from = reached + r * row;
        int64_t i = 0;
        for (; i + LANES < row; i += LANES) store(to + i, load(to + i) + load(from + i));
        store(to + i, load(to + i) + (vec)((ivec)load(from + i) & last));
      }
    }
}

/* A cell's filters that have a value, sorted by the places of their winners: filter by filter, every sum would go through memory. */
typedef struct {
  int32_t filter;
  float value;
} claim;

static void sort_claims(const job *j, const float *values, const uint8_t *places, claim *claims, int32_t *starts) {
  const int64_t number = j->b->f;
  for (int64_t cell = 0; cell < j->s.cells; cell++, claims += number + 1, starts += MOST_PLACES + 1) {
    const float *u = values + cell * j->s.filters;
    const uint8_t *q = places + cell * j->s.filters;
    int32_t at[MOST_PLACES + 1] = {0};
    for (int64_t f = 0; f < number; f++) at[q[f] + 1] += u[f] != 0;
    for (int64_t p = 0; p < j->s.places; p++) at[p + 1] += at[p];
    memcpy(starts, at, sizeof at);
    for (int64_t f = 0; f < number; f++) {
      /* Values of zero go to a place of their own that nobody reads: no branch to be guessed. */
      const int some = u[f] != 0;
      claims[some ? at[q[f]] : number] = (claim){(int32_t)f, u[f]};
      at[q[f]] += some;
    }
  }
}

/* ROWS x COLS of the kernel and one vector of channels: what the claims on one cell of the map add there. */
INLINE void add_claims(const int rows, const int cols, const claim *from, const claim *to, const float *packed,
                       int64_t kernel, float *padded, int64_t row, int64_t col) {
  vec sum[9];
  for (int y = 0; y < rows; y++)
    for (int x = 0; x < cols; x++) sum[y * cols + x] = load(padded + y * row + x * col);
  for (; from < to; from++) {
    const float *w = packed + from->filter * kernel * LANES;
#pragma GCC unroll 3
    for (int y = 0; y < rows; y++)
#pragma GCC unroll 5
      for (int x = 0; x < cols; x++) sum[y * cols + x] += load(w + (y * cols + x) * LANES) * from->value;
  }
  for (int y = 0; y < rows; y++)
    for (int x = 0; x < cols; x++) store(padded + y * row + x * col, sum[y * cols + x]);
}

static void scatter_wide(const job *j, const float *values, const uint8_t *places, float *padded, float *rest) {
  const block *b = j->b;
  const sizes *s = &j->s;
  const int64_t kernel = b->kh * b->kw;
  const offsets o = list_offsets(j, rest);
  claim *claims = (claim *)(rest + offset_floats(j));
  int32_t *starts = (int32_t *)(claims + s->cells * (b->f + 1));
  sort_claims(j, values, places, claims, starts);
#define ADD(ROWS, COLS) add_claims(ROWS, COLS, own + start[0], own + start[1], w, kernel, to, s->row, s->channels)
  for (int64_t v = 0; v < s->channels / LANES; v++)
    FOR_KERNEL_PARTS(b, {
      const float *w = j->packed + (v * b->f * kernel + y * b->kw + x) * LANES;
      for (int64_t cell = 0; cell < s->cells; cell++)
        for (int64_t p = 0; p < s->places; p++) {
          float *to = padded + o.windows[cell] + o.places[p] + y * s->row + x * s->channels + v * LANES;
          const claim *own = claims + cell * (b->f + 1);
          const int32_t *start = starts + cell * (MOST_PLACES + 1) + p;
          if (start[0] < start[1]) BY_KERNEL_PART(ADD);
        }
    })
#undef ADD
}

static void scatter_image(const job *j, int64_t image, int64_t chunk, float *scratch) {
  const block *b = j->b;
  const sizes *s = &j->s;
  float *padded = scratch, *values = padded + up(s->rows * s->row + s->slack, LANES);
  float *rest = values + s->cells * s->filters;
  uint8_t *places = (uint8_t *)rest;
  rest += s->cells * s->filters / 4;
  (void)chunk;
  memset(padded, 0, (size_t)(s->row + s->slack) * sizeof(float));
  if (j->bias)
    for (int64_t x = 0; x < s->row; x += s->channels) memcpy(padded + x, j->bias, (size_t)b->c * sizeof(float));
  for (int64_t y = 1; y < s->rows; y++) memcpy(padded + y * s->row, padded, (size_t)s->row * sizeof(float));
  const int finite = take_values(j, image, values, places, NULL);
  if (s->wide)
    scatter_wide(j, values, places, padded, rest);
  else
    scatter_narrow(j, values, places, finite, padded, rest);
  for (int64_t y = 0; y < b->h; y++) {
    const float *from = padded + (y + b->ph) * s->row + b->pw * s->channels;
    float *to = j->out + (image * b->h + y) * b->w * b->c;
    if (s->channels == b->c && j->flag)
      copy_positive(to, from, b->w * b->c);
    else if (s->channels == b->c)
      memcpy(to, from, (size_t)(b->w * b->c) * sizeof(float));
    else
      for (int64_t x = 0; x < b->w; x++)
        if (j->flag)
          copy_positive(to + x * b->c, from + x * s->channels, b->c);
        else
          memcpy(to + x * b->c, from + x * s->channels, (size_t)b->c * sizeof(float));
  }
}

int scatter(const block *b, const float *values, const float *gate, const uint8_t *places, const float *w,
            const float *bias, int relu, float *out) {
  job j = plan(b, b->n > 4 * MOST_CHUNKS ? 4 : 1);
  const sizes *s = &j.s;
  float *packed = s->wide ? pack_by_channels(&j, w) : pack_by_places(&j, w);
  if (!packed) return 1;
  j.scratch = up(s->rows * s->row + s->slack, LANES) + s->cells * s->filters * 5 / 4 + offset_floats(&j) +
              s->cells * (2 * (b->f + 1) + MOST_PLACES + 1) + reach(b) + 2 * LANES;
  j.image = scatter_image;
  j.u = values, j.gate = gate, j.q = places, j.packed = packed, j.bias = bias, j.out = out, j.flag = relu;
  const int failed = perform(&j);
  free(packed);
  return failed;
}

/* ---- gather ---- */

/* Lane by lane, one of the numbers at p, as the index says. */
INLINE vec pick(const int width, const float *p, ivec index) {
#if defined(__AVX512F__)
  if (width == 4) return (vec)_mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(p)), (__m512i)index);
  return (vec)_mm512_permutexvar_ps((__m512i)index, _mm512_loadu_ps(p));
#else
#if defined(__AVX2__)
  if (width == 4) return (vec)_mm256_permutevar_ps(_mm256_broadcast_ps((const __m128 *)p), (__m256i)index);
  return (vec)_mm256_i32gather_ps(p, (__m256i)index, 4);
#endif
  (void)width;
  vec found;
  for (int i = 0; i < LANES; i++) found[i] = p[index[i]];
  return found;
#endif
}

/* Beside each number of a padded map those that lie where the other places of a window would: the table to pick from. */
INLINE void spread_row(const int width, const job *j, const float *from, int64_t columns, float *to) {
  const block *b = j->b;
  const sizes *s = &j->s;
  if (width == 4 && b->sh == 2 && b->sw == 2) {
    const float *below = from + s->row;
    for (int64_t i = 0; i < columns; i++) {
      to[4 * i] = from[i];
      to[4 * i + 1] = from[i + s->channels];
      to[4 * i + 2] = below[i];
      to[4 * i + 3] = below[i + s->channels];
    }
    return;
  }
  for (int64_t i = 0; i < columns; i++)
    for (int p = 0; p < width; p++)
      to[width * i + p] = p < s->places ? from[i + p / b->sw * s->row + p % b->sw * s->channels] : 0;
}

/* ROWS rows of RUN taps, one vector of filters, all cells of an image. */
INLINE void gather_taps(const int width, const int rows, const int run, const int dots, const job *j, const float *table,
                        int64_t columns, const float *values, const uint8_t *places, const float *w, float *sums,
                        float *found) {
  const block *b = j->b;
  const int64_t filters = j->s.filters, taps = j->s.run;
  vec sum[27];
  for (int r = 0; r < rows; r++)
    for (int t = 0; t < run; t++) sum[r * run + t] = load(sums + (r * taps + t) * LANES);
  for (int64_t y = 0; y < b->oh; y++)
    for (int64_t x = 0; x < b->ow; x++) {
      const int64_t cell = (y * b->ow + x) * filters;
      const float *from = table + (y * b->sh * columns + x * b->sw * b->c) * width;
      const vec u = load(values + cell);
      const ivec index = __builtin_convertvector(*(const bvec *)(places + cell), ivec);
      vec dot = dots ? load(found + cell) : (vec){0};
#pragma GCC unroll 3
      for (int r = 0; r < rows; r++)
#pragma GCC unroll 27
        for (int t = 0; t < run; t++) {
          const vec around = pick(width, from + (r * columns + t) * width, index);
          sum[r * run + t] += u * around;
          if (dots) dot += load(w + (r * taps + t) * LANES) * around;
        }
      if (dots) store(found + cell, dot);
    }
  for (int r = 0; r < rows; r++)
    for (int t = 0; t < run; t++) store(sums + (r * taps + t) * LANES, sum[r * run + t]);
}

INLINE void gather_narrow(const int width, const int dots, const job *j, const float *table, int64_t columns,
                          const float *values, const uint8_t *places, float *sums, float *found) {
  const block *b = j->b;
  const sizes *s = &j->s;
#define TAPS(ROWS, RUN) gather_taps(width, ROWS, RUN, dots, j, at, columns, u, q, w, sum, dot)
  for (int64_t v = 0; v < s->vectors; v++)
    for (int64_t y = 0; y < b->kh; y++)
      for (int64_t t = 0; t < s->run;) {
        const int64_t left = s->run - t;
        const float *at = table + (y * columns + t) * width, *u = values + v * LANES;
        const uint8_t *q = places + v * LANES;
        const float *w = dots ? j->packed + (v * s->taps + y * s->run + t) * LANES : NULL;
        float *sum = sums + (v * s->taps + y * s->run + t) * LANES, *dot = found + v * LANES;
        if (s->run == 9 && b->kh - y >= 3) {
          TAPS(3, 9);
          y += 2;
          t = 9;
        } else if (left >= 24) {
          TAPS(1, 24);
          t += 24;
        } else if (left >= 15) {
          TAPS(1, 15);
          t += 15;
        } else if (left >= 9) {
          TAPS(1, 9);
          t += 9;
        } else if (left >= 3) {
          TAPS(1, 3);
          t += 3;
        } else {
          TAPS(1, 1);
          t += 1;
        }
      }
#undef TAPS
}

INLINE float sum_lanes(vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);
#else
  float sum = 0;
  for (int i = 0; i < LANES; i++) sum += v[i];
  return sum;
#endif
}

/* ROWS x COLS of the kernel and one vector of channels, one filter, all its winners. */
INLINE void sum_winners(const int rows, const int cols, const int dots, const winner *from, const winner *to,
                        const float *padded, int64_t row, int64_t col, const float *w, float *sums, float *found, int64_t filters) {
  vec sum[9], weight[9];
  for (int y = 0; y < rows; y++)
    for (int x = 0; x < cols; x++) {
      sum[y * cols + x] = load(sums + (y * cols + x) * LANES);
      if (dots) weight[y * cols + x] = load(w + (y * cols + x) * LANES);
    }
  for (; from < to; from++) {
    const float *at = padded + from->at;
    vec even = {0}, odd = {0};
#pragma GCC unroll 3
    for (int y = 0; y < rows; y++)
#pragma GCC unroll 5
      for (int x = 0; x < cols; x++) {
        const vec around = load(at + y * row + x * col);
        sum[y * cols + x] += around * from->value;
        if (dots && x % 2 == 0) even += around * weight[y * cols + x];
        if (dots && x % 2 == 1) odd += around * weight[y * cols + x];
      }
    if (dots) found[from->cell * filters] += sum_lanes(even + odd);
  }
  for (int y = 0; y < rows; y++)
    for (int x = 0; x < cols; x++) store(sums + (y * cols + x) * LANES, sum[y * cols + x]);
}

INLINE void gather_wide(const int dots, const job *j, const float *padded, const float *values, const uint8_t *places,
                        float *rest, float *sums, float *found) {
  const block *b = j->b;
  const sizes *s = &j->s;
  const offsets o = list_offsets(j, rest);
  winner *winners = (winner *)(rest + offset_floats(j));
#define SUM(ROWS, COLS)                                                                                                \
  sum_winners(ROWS, COLS, dots, winners, end, from, s->row, s->channels, dots ? j->packed + at : NULL, sums + at,       \
              found + f, s->filters)
  for (int64_t f = 0; f < b->f; f++) {
    const winner *end = list_winners(j, values + f, places + f, o, dots && !j->flag, winners);
    for (int64_t v = 0; v < s->channels / LANES; v++)
      FOR_KERNEL_PARTS(b, {
        const int64_t at = (((v * b->f + f) * b->kh + y) * b->kw + x) * LANES;
        const float *from = padded + y * s->row + x * s->channels + v * LANES;
        BY_KERNEL_PART(SUM);
      })
  }
#undef SUM
}

/* A chunk's part: the filters' sums as they are packed, then the sum of values a filter, then of the map a channel. */
static int64_t filter_floats(const job *j) { return j->s.wide ? j->s.channels * j->b->kh * j->b->kw * j->b->f : j->s.filters * j->s.taps; }

/* The sum of a map a channel: rows first, whole vectors of them. */
static void sum_map(const job *j, const float *padded, float *columns, float *sums) {
  const block *b = j->b;
  const int64_t size = b->w * j->s.channels;
  memset(columns, 0, (size_t)size * sizeof(float));
  for (int64_t y = 0; y < b->h; y++) {
    const float *row = padded + (y + b->ph) * j->s.row + b->pw * j->s.channels;
    for (int64_t i = 0; i < size; i++) columns[i] += row[i];
  }
  for (int64_t x = 0; x < size; x += j->s.channels)
    for (int64_t c = 0; c < j->s.channels; c++) sums[c] += columns[x + c];
}

static void gather_image(const job *j, int64_t image, int64_t chunk, float *scratch) {
  const block *b = j->b;
  const sizes *s = &j->s;
  const int width = s->places <= 4 ? 4 : 16;
  float *padded = scratch, *values = padded + up(s->rows * s->row + s->slack, LANES);
  float *found = values + s->cells * s->filters, *rest = found + s->cells * s->filters;
  uint8_t *places = (uint8_t *)rest;
  float *sums = j->parts + chunk * j->part, *of_values = sums + filter_floats(j), *of_map = of_values + s->filters;
  rest += s->cells * s->filters / 4;
  pad(j, image, padded);
  take_values(j, image, values, places, of_values);
  if (j->out) {
    memset(found, 0, (size_t)(s->cells * s->filters) * sizeof(float));
    sum_map(j, padded, rest, of_map);
  }
  if (s->wide) {
    if (j->out)
      gather_wide(1, j, padded, values, places, rest, sums, found);
    else
      gather_wide(0, j, padded, values, places, rest, sums, found);
  } else {
    const int64_t columns = ((b->ow - 1) * b->sw + b->kw) * b->c, lines = (b->oh - 1) * b->sh + b->kh;
    for (int64_t y = 0; y < lines; y++)
      if (width == 4)
        spread_row(4, j, padded + y * s->row, columns, rest + y * columns * width);
      else
        spread_row(16, j, padded + y * s->row, columns, rest + y * columns * width);
    if (width == 4 && j->out)
      gather_narrow(4, 1, j, rest, columns, values, places, sums, found);
    else if (width == 4)
      gather_narrow(4, 0, j, rest, columns, values, places, sums, found);
    else if (j->out)
      gather_narrow(16, 1, j, rest, columns, values, places, sums, found);
    else
      gather_narrow(16, 0, j, rest, columns, values, places, sums, found);
  }
  if (j->out)
    for (int64_t cell = 0; cell < s->cells; cell++)
      memcpy(j->out + (image * s->cells + cell) * b->f, found + cell * s->filters, (size_t)b->f * sizeof(float));
}

/* Add the chunks' sums, in order, and give the filters their usual order. */
static void add_parts(const job *j, float *filters, float *of_values, float *of_map) {
  const block *b = j->b;
  const sizes *s = &j->s;
  const int64_t kernel = b->kh * b->kw;
  float *total = j->parts;
  for (int64_t chunk = 1; chunk < j->chunks; chunk++)
    for (int64_t i = 0; i < j->part; i++) total[i] += j->parts[chunk * j->part + i];
  for (int64_t f = 0; f < b->f; f++)
    for (int64_t c = 0; c < b->c; c++)
      for (int64_t t = 0; t < kernel; t++) {
        const int64_t tap = t / b->kw * s->run + t % b->kw * s->channels + c;
        const int64_t wide = ((c / LANES * b->f + f) * kernel + t) * LANES + c % LANES;
        const int64_t narrow = (f / LANES * s->taps + tap) * LANES + f % LANES;
        filters[(f * b->c + c) * kernel + t] = total[s->wide ? wide : narrow];
      }
  if (of_values) memcpy(of_values, total + filter_floats(j), (size_t)b->f * sizeof(float));
  if (of_map) memcpy(of_map, total + filter_floats(j) + s->filters, (size_t)b->c * sizeof(float));
}

/* With dots the values' gradient is found too, and the sum of the map; skip leaves it zero where a value is zero. Where
   opened is given and not positive, the map counts as zero. */
int gather(const block *b, const float *map, const float *opened, const float *values, const float *gate, const uint8_t *places, const float *w,
           int skip, float *filters, float *of_values, float *dots, float *of_map) {
  job j = plan(b, (b->n + MOST_CHUNKS - 1) / MOST_CHUNKS);
  const sizes *s = &j.s;
  const int64_t columns = ((b->ow - 1) * b->sw + b->kw) * b->c, lines = (b->oh - 1) * b->sh + b->kh;
  const int64_t width = s->places <= 4 ? 4 : 16;
  float *packed = dots ? (s->wide ? pack_by_channels(&j, w) : pack_by_filters(&j, w)) : NULL;
  j.part = up(filter_floats(&j) + s->filters + s->channels, LANES);
  j.parts = malloc((size_t)(j.part * j.chunks + 1) * sizeof(float));
  j.scratch = up(s->rows * s->row + s->slack, LANES) + 9 * s->cells * s->filters / 4 + 2 * LANES +
              (s->wide ? offset_floats(&j) + 3 * (s->cells + 1) + s->row : columns * lines * width + s->row);
  j.image = gather_image;
  j.x = map, j.opened = opened, j.u = values, j.gate = gate, j.q = places, j.packed = packed, j.out = dots, j.flag = skip;
  int failed = !j.parts || (dots && !packed);
  if (!failed) failed = perform(&j);
  if (!failed) add_parts(&j, filters, of_values, of_map);
  free(packed);
  free(j.parts);
  return failed;
}

/* ---- maps in half precision (bfloat16: the upper half of a float) ----

   Convolutions are PyTorch's there, where the processor has instructions for them; what stands between them is here: max-pool by
   two, which moves numbers and computes none, and normalisation with ReLU, computed as floats and rounded once. Sums go by images and
   are added in their order, so they have the same bytes for any number of threads. */

/* A vector of halves, or fewer and zeros behind. */
INLINE hvec load_halves(const uint16_t *from, size_t some) {
  hvec halves = {0};
  if (some == LANES)
    halves = *(const hvec *)from;
  else
    memcpy(&halves, from, some * sizeof(uint16_t));
  return halves;
}

INLINE void store_halves(uint16_t *to, hvec halves, size_t some) {
  if (some == LANES)
    *(hvec *)to = halves;
  else
    memcpy(to, &halves, some * sizeof(uint16_t));
}

INLINE vec widen(hvec halves) { return (vec)(__builtin_convertvector(halves, uvec) << 16); }
INLINE vec widen_some(const uint16_t *from, size_t some) { return widen(load_halves(from, some)); }

/* To the nearest, of two equally near to the even one; what is no number stays none. */
INLINE void narrow_some(uint16_t *to, vec numbers, size_t some) {
  const uvec bits = (uvec)numbers, none = (uvec)(numbers != numbers);
  const uvec rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, kept = bits >> 16 | 0x40;
  store_halves(to, __builtin_convertvector((rounded & ~none) | (kept & none), hvec), some);
}

/* Numbers a channel, or as many as there are and zeros behind. */
INLINE vec load_some(const float *from, size_t some) {
  if (some == LANES) return load(from);
  vec numbers = {0};
  memcpy(&numbers, from, some * sizeof(float));
  return numbers;
}

/* Zeros where a number is not positive. */
INLINE vec open_where(vec numbers, vec back) { return (vec)((ivec)back & ~(ivec)(numbers <= 0)); }

/* A vector of channels after the other. */
#define FOR_CHANNELS(J)                                                                                                \
  for (int64_t f = (J)->b->f, v = 0, some = f < LANES ? f : LANES; v < f; v += LANES, some = f - v < LANES ? f - v : LANES)

/* A job on maps whose images each leave two sums a channel, if they leave any; each channel has room in whole vectors. */
static job plan_halves(const block *b, void (*image)(const job *, int64_t, int64_t, float *), int summed) {
  job j = plan(b, 1);
  j.image = image;
  j.scratch = LANES;
  j.part = 2 * j.s.filters;
  if (summed) j.parts = malloc((size_t)(j.part * j.chunks + 1) * sizeof(float));
  return j;
}

/* Of each 2x2 window the largest, of equal ones the first, and what is no number before all others. */
static void halve_image(const job *j, int64_t image, int64_t chunk, float *scratch) {
  const block *b = j->b;
  const int64_t row = b->w * b->f;
  (void)chunk, (void)scratch;
  for (int64_t y = 0; y < b->oh; y++)
    for (int64_t x = 0; x < b->ow; x++) {
      const uint16_t *from = (const uint16_t *)j->x + ((image * b->h + 2 * y) * b->w + 2 * x) * b->f;
      const int64_t at = ((image * b->oh + y) * b->ow + x) * b->f;
      FOR_CHANNELS(j) {
        const uint16_t *cells[4] = {from + v, from + v + f, from + v + row, from + v + row + f};
        vec most = widen_some(cells[0], some);
        ivec place = {0};
        for (int k = 1; k < 4; k++) {
          const vec number = widen_some(cells[k], some);
          const ivec more = (ivec)(number > most) | (ivec)(number != number);
          most = select_(more, number, most);
          place = (place & ~more) | (k & more);
        }
        store_halves((uint16_t *)j->out + at + v, __builtin_convertvector((uvec)most >> 16, hvec), some);
        const bvec places = __builtin_convertvector(place, bvec);
        memcpy(j->places + at + v, &places, some);
      }
    }
}

int halve(const block *b, const uint16_t *map, uint16_t *values, uint8_t *places) {
  job j = plan_halves(b, halve_image, 0);
  j.x = (const float *)map, j.out = (float *)values, j.places = places;
  return perform(&j);
}

/* Each gradient in the place of its window, zeros in the others and in what no window covers; no zero is negative. */
static void spread_image(const job *j, int64_t image, int64_t chunk, float *scratch) {
  const block *b = j->b;
  const int64_t row = b->w * b->f;
  uint16_t *map = (uint16_t *)j->out + image * b->h * row;
  (void)chunk, (void)scratch;
  for (int64_t y = 0; y < b->oh; y++) {
    for (int64_t x = 0; x < b->ow; x++) {
      const int64_t at = ((image * b->oh + y) * b->ow + x) * b->f;
      uint16_t *to = map + 2 * y * row + 2 * x * b->f;
      FOR_CHANNELS(j) {
        const hvec given = load_halves((const uint16_t *)j->x + at + v, some), back = given & (hvec)(given != 0x8000);
        bvec places = {0};
        memcpy(&places, j->q + at + v, some);
        const hvec place = __builtin_convertvector(places, hvec);
        for (int k = 0; k < 4; k++)
          store_halves(to + v + k / 2 * row + k % 2 * f, back & (hvec)(place == (uint16_t)k), some);
      }
    }
    for (int64_t k = 2 * b->ow * b->f; k < row; k++) map[2 * y * row + k] = map[(2 * y + 1) * row + k] = 0;
  }
  memset(map + 2 * b->oh * row, 0, (size_t)((b->h - 2 * b->oh) * row) * sizeof(uint16_t));
}

int spread(const block *b, const uint16_t *gradient, const uint8_t *places, uint16_t *map) {
  job j = plan_halves(b, spread_image, 0);
  j.x = (const float *)gradient, j.q = places, j.out = (float *)map;
  return perform(&j);
}

/* What a table of all 65,536 numbers says of each. */
static void look_up_image(const job *j, int64_t image, int64_t chunk, float *scratch) {
  const int64_t size = j->b->h * j->b->w * j->b->f;
  const uint16_t *restrict table = (const uint16_t *)j->w, *restrict from = (const uint16_t *)j->x + image * size;
  uint16_t *restrict to = (uint16_t *)j->out + image * size;
  (void)chunk, (void)scratch;
  for (int64_t i = 0; i < size; i++) to[i] = table[from[i]];
}

int look_up(const block *b, const uint16_t *table, const uint16_t *numbers, uint16_t *found) {
  job j = plan_halves(b, look_up_image, 0);
  j.w = (const float *)table, j.x = (const float *)numbers, j.out = (float *)found;
  return perform(&j);
}

/* Each channel's mean in an image, and the sum of squares around it. */
static void moments_image(const job *j, int64_t image, int64_t chunk, float *scratch) {
  const int64_t rows = j->b->h * j->b->w;
  const uint16_t *x = (const uint16_t *)j->x + image * rows * j->b->f;
  float *part = j->parts + chunk * j->part;
  (void)scratch;
  FOR_CHANNELS(j) {
    vec mean = {0}, squares = {0};
    for (int64_t r = 0; r < rows; r++) mean += widen_some(x + r * f + v, some);
    mean /= (float)rows;
    for (int64_t r = 0; r < rows; r++) {
      const vec away = widen_some(x + r * f + v, some) - mean;
      squares += away * away;
    }
    store(part + v, mean);
    store(part + j->s.filters + v, squares);
  }
}

/* The mean and the variance of each channel, by Chan, Golub and LeVeque's way to join those of parts (1983). */
int moments(const block *b, const uint16_t *x, float *mean, float *variance) {
  job j = plan_halves(b, moments_image, 1);
  const double rows = (double)(b->h * b->w);
  j.x = (const float *)x;
  const int failed = !j.parts || perform(&j);
  for (int64_t i = 0; !failed && i < b->f; i++) {
    double middle = 0, squares = 0;
    for (int64_t image = 0; image < b->n; image++) {
      const float *part = j.parts + image * j.part + i;
      const double away = part[0] - middle;
      middle += away / (double)(image + 1);
      squares += part[j.s.filters] + away * away * rows * (double)image / (double)(image + 1);
    }
    mean[i] = (float)middle;
    variance[i] = (float)(squares / (rows * (double)b->n));
  }
  free(j.parts);
  return failed;
}

/* What is positive of x times a scale and a shift a channel, added to what stands beside it, if anything does. */
static void normalise_image(const job *j, int64_t image, int64_t chunk, float *scratch) {
  const int64_t rows = j->b->h * j->b->w, at = image * rows * j->b->f;
  const uint16_t *x = (const uint16_t *)j->x + at, *beside = j->u ? (const uint16_t *)j->u + at : NULL;
  uint16_t *to = (uint16_t *)j->out + at;
  (void)chunk, (void)scratch;
  FOR_CHANNELS(j) {
    const vec scale = load_some(j->w + v, some), shift = load_some(j->bias + v, some);
    for (int64_t r = v; r < rows * f; r += f) {
      vec number = widen_some(x + r, some) * scale + shift;
      number = open_where(number, number);
      if (beside) number += widen_some(beside + r, some);
      narrow_some(to + r, number, some);
    }
  }
}

int normalise(const block *b, const uint16_t *x, const uint16_t *beside, const float *scale, const float *shift, uint16_t *out) {
  job j = plan_halves(b, normalise_image, 0);
  j.x = (const float *)x, j.u = (const float *)beside, j.w = scale, j.bias = shift, j.out = (float *)out;
  return perform(&j);
}

/* An image's sums of what comes back a channel, and of that times the map's distance from its mean. */
static void collect_image(const job *j, int64_t image, int64_t chunk, float *scratch) {
  const int64_t rows = j->b->h * j->b->w, at = image * rows * j->b->f;
  const uint16_t *x = (const uint16_t *)j->x + at, *gradient = (const uint16_t *)j->u + at;
  float *part = j->parts + chunk * j->part;
  (void)scratch;
  FOR_CHANNELS(j) {
    const vec scale = load_some(j->w + v, some), shift = load_some(j->bias + v, some), mean = load_some(j->packed + v, some);
    vec sums = {0}, products = {0};
    for (int64_t r = v; r < rows * f; r += f) {
      const vec number = widen_some(x + r, some);
      const vec open = open_where(number * scale + shift, widen_some(gradient + r, some));
      sums += open;
      products += open * (number - mean);
    }
    store(part + v, sums);
    store(part + j->s.filters + v, products);
  }
}

/* Of each channel the sum of the gradient where the ReLU is open, and of that times the map's distance from its mean. */
int collect(const block *b, const uint16_t *x, const uint16_t *gradient, const float *scale, const float *shift, const float *mean,
            float *sums, float *products) {
  job j = plan_halves(b, collect_image, 1);
  j.x = (const float *)x, j.u = (const float *)gradient, j.w = scale, j.bias = shift, j.packed = mean;
  const int failed = !j.parts || perform(&j);
  for (int64_t i = 0; !failed && i < b->f; i++) {
    double sum = 0, product = 0;
    for (int64_t image = 0; image < b->n; image++) {
      sum += j.parts[image * j.part + i];
      product += j.parts[image * j.part + j.s.filters + i];
    }
    sums[i] = (float)sum, products[i] = (float)product;
  }
  free(j.parts);
  return failed;
}

/* The map's gradient: scale times the open gradient, less a constant a channel and a share of the distance from the mean. */
static void hand_back_image(const job *j, int64_t image, int64_t chunk, float *scratch) {
  const int64_t rows = j->b->h * j->b->w, at = image * rows * j->b->f;
  const uint16_t *x = (const uint16_t *)j->x + at, *gradient = (const uint16_t *)j->u + at;
  uint16_t *to = (uint16_t *)j->out + at;
  (void)chunk, (void)scratch;
  FOR_CHANNELS(j) {
    const vec scale = load_some(j->w + v, some), shift = load_some(j->bias + v, some), mean = load_some(j->packed + v, some);
    const vec constant = load_some(j->gate + v, some), share = load_some(j->opened + v, some);
    for (int64_t r = v; r < rows * f; r += f) {
      const vec number = widen_some(x + r, some);
      const vec open = open_where(number * scale + shift, widen_some(gradient + r, some));
      narrow_some(to + r, scale * open - constant - share * (number - mean), some);
    }
  }
}

int hand_back(const block *b, const uint16_t *x, const uint16_t *gradient, const float *scale, const float *shift, const float *mean,
              const float *constant, const float *share, uint16_t *out) {
  job j = plan_halves(b, hand_back_image, 0);
  j.x = (const float *)x, j.u = (const float *)gradient, j.w = scale, j.bias = shift, j.packed = mean;
  j.gate = constant, j.opened = share, j.out = (float *)out;
  return perform(&j);
}
