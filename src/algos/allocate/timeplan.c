/*
 * Levels for the shortest step: a dynamic programme over error budget and time.
 *
 * With a_l, b_l, w_l the seconds of encoding, decoding and sending layer l at its level, bucket k
 * arrives at
 *
 *     F_k = max(F_{k-1}, r_k + sum of a up to k) + latencies + sum of w in k
 *
 * and the step takes max(compute + sum a, F) + sum b + update. Decoding after everything has
 * arrived is the same as decoding as one goes, if it delays both what is computed and what is on
 * the link: with `busy` = sum (a + b) and `link` = F + sum b the step takes max(compute + busy,
 * link) + update. So two numbers tell all that later layers need to know of earlier ones, and a
 * third, `path`, when a bucket would arrive if the link were free. All three only grow, and what is
 * smaller in all of them stays better; for each part of the budget the fronts of points that no
 * other point beats are kept. Which kinds of messages a bucket has already paid the latency of is
 * part of the state.
 *
 * The path to a point is kept as one number for each layer: the level, and which point it came
 * from.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/timeplan.h"

#include "lamina/memory.h"

#include <math.h>
#include <string.h>

#define POINTS_MAX ((size_t)4)
#define LEVELS_MAX ((size_t)256)
/* Which kinds of messages the open bucket has: a bit for each. */
#define KINDS ((size_t)1 << LMN_TIME_KINDS)
/* Of the step: what may be lost in all by leaving out points that are hardly better. How long the
 * step is, is first taken from dense; where it turns out shorter by FINER, the search is made
 * again.
 */
#define NEGLIGIBLE 0.002
#define FINER      0.5
/* Points of smaller error that others are compared with. */
#define RIVALS_MAX ((size_t)32)
/* Plans that take so much more than the shortest count as equally fast. */
#define EQUAL 1.01

typedef struct point {
    double busy; /* encoding and decoding so far */
    double path; /* busy, and time on the link of the open bucket so far */
    double link; /* when the link is free again, decoding included */
    uint64_t bytes;
    uint16_t trail; /* level, then the point that it came from: kinds and place in its front */
} point;

typedef struct front {
    size_t n;
    point points[POINTS_MAX + 1];
} front;

typedef struct solver {
    const lmn_time_problem *problem;
    size_t n_kinds; /* sets of kinds that a bucket can have */
    size_t n_parts; /* of the budget that are used */
    double budget;
    double slack;              /* seconds by which a point must be better to count */
    front *previous, *current; /* [n_parts + 1][n_kinds] */
    size_t *found;             /* [n_layers] by the last search */
    uint16_t *trails;          /* [n_layers][n_parts + 1][n_kinds][POINTS_MAX] */
} solver;

lmn_time_prediction lmn_time_predict(const lmn_time_problem *problem, const size_t *levels)
{
    lmn_time_prediction sum = {0};
    double busy = 0.0;
    for (size_t first = 0, end = 0; first < problem->n_layers; first = end) {
        double ready = 0.0;
        double encode = 0.0;
        double wire = 0.0;
        bool has[LMN_TIME_KINDS] = {false};
        for (end = first; end < problem->n_layers && problem->bucket[end] == problem->bucket[first];
             end++) {
            const size_t cell = end * problem->n_levels + levels[end];
            ready = fmax(ready, problem->ready[end]);
            encode += problem->encode[cell];
            wire += problem->wire[cell];
            has[problem->kind[levels[end]]] = true;
            sum.decode += problem->decode[cell];
            sum.error += problem->error[cell];
            sum.bytes += problem->bytes[cell];
        }
        sum.encode += encode;
        busy += problem->has_spare_cores ? 0.0 : encode;
        const double starts = ready + (problem->has_spare_cores ? encode : busy);
        sum.link = fmax(sum.link, starts) + wire;
        for (size_t kind = 0; kind < LMN_TIME_KINDS; kind++) {
            sum.link += has[kind] ? problem->latency[kind] : 0.0;
        }
    }
    sum.seconds = fmax(problem->compute + busy, sum.link) + sum.decode + problem->update;
    return sum;
}

static size_t trail_count(size_t n_layers, size_t parts)
{
    return n_layers * (parts + 1) * KINDS * POINTS_MAX;
}

size_t lmn_time_scratch_bytes(size_t n_layers, size_t buckets)
{
    if (buckets > SIZE_MAX / 4 / KINDS / sizeof(front) ||
        n_layers > SIZE_MAX / 4 / sizeof(uint16_t) / KINDS / POINTS_MAX / (buckets + 1)) {
        return SIZE_MAX;
    }
    return 2 * lmn_align_up((buckets + 1) * KINDS * sizeof(front)) +
           lmn_align_up(n_layers * sizeof(size_t)) +
           lmn_align_up(trail_count(n_layers, buckets) * sizeof(uint16_t));
}

static bool is_time(double seconds)
{
    return seconds >= 0.0 && isfinite(seconds);
}

static bool is_good_cell(const lmn_time_problem *problem, size_t cell)
{
    return is_time(problem->encode[cell]) && is_time(problem->decode[cell]) &&
           is_time(problem->wire[cell]) && problem->error[cell] >= 0.0;
}

static bool has_good_kinds(const lmn_time_problem *problem)
{
    bool is_good = true;
    for (size_t level = 0; level < problem->n_levels; level++) {
        is_good = is_good && problem->kind[level] < LMN_TIME_KINDS;
    }
    for (size_t kind = 0; kind < LMN_TIME_KINDS; kind++) {
        is_good = is_good && is_time(problem->latency[kind]);
    }
    return is_good;
}

static lmn_status check_problem(const lmn_time_problem *problem, double budget, size_t buckets,
                                lmn_error *err)
{
    if (problem->n_levels == 0 || problem->n_levels > LEVELS_MAX || buckets == 0 ||
        !is_time(budget) || !is_time(problem->compute) || !is_time(problem->update) ||
        !has_good_kinds(problem)) {
        return lmn_error_set(err, LMN_ERR_ARGUMENT,
                             "time: %zu levels, %zu buckets and a budget of %g; 1 to %zu levels, "
                             "at least one bucket, and numbers that are not negative are possible",
                             problem->n_levels, buckets, budget, LEVELS_MAX);
    }
    for (size_t layer = 0; layer < problem->n_layers; layer++) {
        bool is_good = is_time(problem->ready[layer]) &&
                       problem->error[layer * problem->n_levels] == 0.0 &&
                       (layer == 0 || problem->bucket[layer] >= problem->bucket[layer - 1]);
        for (size_t level = 0; level < problem->n_levels && is_good; level++) {
            is_good = is_good_cell(problem, layer * problem->n_levels + level);
        }
        if (!is_good) {
            return lmn_error_set(err, LMN_ERR_ARGUMENT,
                                 "time: layer %zu has a time or an error that is negative or no "
                                 "number, an error while dense, or comes after a later bucket",
                                 layer);
        }
    }
    return LMN_OK;
}

static solver lay_out(const lmn_time_problem *problem, double budget, size_t buckets, void *scratch)
{
    const size_t fronts = lmn_align_up((buckets + 1) * KINDS * sizeof(front));
    unsigned char *memory = scratch;
    size_t highest = 0;
    for (size_t level = 0; level < problem->n_levels; level++) {
        highest = problem->kind[level] > highest ? problem->kind[level] : highest;
    }
    return (solver){
        .problem = problem,
        .n_kinds = (size_t)2 << highest,
        .n_parts = budget > 0.0 ? buckets : 0,
        .budget = budget,
        .previous = scratch,
        .current = (void *)(memory + fronts),
        .found = (void *)(memory + 2 * fronts),
        .trails = (void *)(memory + 2 * fronts + lmn_align_up(problem->n_layers * sizeof(size_t)))};
}

/* Parts of the budget that an error takes; more than there are when it does not fit. Product and
 * quotient are exact enough for whole numbers up to 2^40: the next whole number is never missed. */
static size_t parts_of(const solver *self, double error)
{
    if (error == 0.0) {
        return 0;
    }
    const double parts =
        self->n_parts > 0 ? ceil(error * (double)self->n_parts / self->budget) : (double)INFINITY;
    return parts <= (double)self->n_parts ? (size_t)parts : self->n_parts + 1;
}

/* Whether a is nowhere better than `by`, or by no more than `slack`. */
static bool is_beaten(const point *a, const point *by, double slack)
{
    if (by->busy > a->busy + slack || by->path > a->path + slack || by->link > a->link + slack) {
        return false;
    }
    const bool is_equal = by->busy == a->busy && by->path == a->path && by->link == a->link;
    return !is_equal || by->bytes <= a->bytes;
}

static double sum_of(const point *p)
{
    return p->busy + p->path + p->link;
}

/* Of the two points that are most alike the later one goes. */
static void drop_nearest(front *f)
{
    size_t keep = 0;
    size_t drop = 1;
    double least = (double)INFINITY;
    for (size_t i = 0; i < f->n; i++) {
        for (size_t k = i + 1; k < f->n; k++) {
            const point *a = &f->points[i];
            const point *b = &f->points[k];
            const double apart =
                fabs(a->busy - b->busy) + fabs(a->path - b->path) + fabs(a->link - b->link);
            if (apart < least) {
                least = apart;
                keep = i;
                drop = k;
            }
        }
    }
    const bool is_better = sum_of(&f->points[drop]) < sum_of(&f->points[keep]);
    f->points[is_better ? keep : drop] = f->points[f->n - 1];
    f->n--;
}

static void offer(front *f, const point *candidate, double slack)
{
    for (size_t i = 0; i < f->n; i++) {
        if (is_beaten(candidate, &f->points[i], slack)) {
            return;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < f->n; i++) {
        if (!is_beaten(&f->points[i], candidate, 0.0)) {
            f->points[kept++] = f->points[i];
        }
    }
    f->n = kept;
    f->points[f->n++] = *candidate;
    if (f->n > POINTS_MAX) {
        drop_nearest(f);
    }
}

/* The bucket that a point is in is complete; `ready` is when its last gradient was there. */
static point closed(point from, double ready)
{
    from.link = fmax(from.link, ready + from.path);
    from.path = from.busy;
    return from;
}

/* When the last gradient of the bucket of `layer` is there, its earlier layers included. */
static double bucket_ready(const lmn_time_problem *problem, size_t layer)
{
    double ready = 0.0;
    for (size_t i = layer + 1; i-- > 0 && problem->bucket[i] == problem->bucket[layer];) {
        ready = fmax(ready, problem->ready[i]);
    }
    return ready;
}

static point with_layer(const lmn_time_problem *problem, size_t layer, size_t level, bool pays,
                        point from)
{
    const size_t cell = layer * problem->n_levels + level;
    const double latency = problem->latency[problem->kind[level]];
    const double encode = problem->encode[cell];
    const double decode = problem->decode[cell];
    const double wire = problem->wire[cell] + (pays ? latency : 0.0);
    from.busy += decode + (problem->has_spare_cores ? 0.0 : encode);
    from.path += decode + encode + wire;
    from.link += decode + wire;
    from.bytes += problem->bytes[cell];
    return from;
}

/* All levels of a layer, from one front. */
static void extend(solver *self, size_t layer, size_t part, size_t kinds, double closing)
{
    const lmn_time_problem *problem = self->problem;
    const front *from = &self->previous[part * self->n_kinds + kinds];
    for (size_t level = 0; level < problem->n_levels && from->n > 0; level++) {
        const size_t taken = parts_of(self, problem->error[layer * problem->n_levels + level]);
        if (taken + part > self->n_parts) {
            continue;
        }
        const size_t had = closing >= 0.0 ? 0 : kinds;
        const size_t bit = (size_t)1 << problem->kind[level];
        front *to = &self->current[(part + taken) * self->n_kinds + (had | bit)];
        for (size_t i = 0; i < from->n; i++) {
            const point start = closing >= 0.0 ? closed(from->points[i], closing) : from->points[i];
            point next = with_layer(problem, layer, level, (had & bit) == 0, start);
            next.trail = (uint16_t)(level << 8 | kinds << 4 | i);
            offer(to, &next, self->slack);
        }
    }
}

/* A point is of no use where another has a smaller error and is nowhere slower. */
static void drop_beaten(solver *self, size_t kinds)
{
    point rivals[RIVALS_MAX];
    size_t n_rivals = 0;
    size_t next_rival = 0; /* the oldest goes, which was beaten most often */
    for (size_t part = 0; part <= self->n_parts; part++) {
        front *f = &self->current[part * self->n_kinds + kinds];
        size_t kept = 0;
        for (size_t i = 0; i < f->n; i++) {
            bool beaten = false;
            for (size_t r = 0; r < n_rivals && !beaten; r++) {
                beaten = is_beaten(&f->points[i], &rivals[r], self->slack);
            }
            if (!beaten) {
                f->points[kept++] = f->points[i];
            }
        }
        f->n = kept;
        for (size_t i = 0; i < kept; i++) {
            rivals[next_rival++ % RIVALS_MAX] = f->points[i];
        }
        n_rivals = next_rival < RIVALS_MAX ? next_rival : RIVALS_MAX;
    }
}

static void add_layer(solver *self, size_t layer)
{
    const lmn_time_problem *problem = self->problem;
    const size_t n_fronts = (self->n_parts + 1) * self->n_kinds;
    const bool opens = layer > 0 && problem->bucket[layer] != problem->bucket[layer - 1];
    const double closing = opens ? bucket_ready(problem, layer - 1) : -1.0;
    for (size_t i = 0; i < n_fronts; i++) {
        self->current[i].n = 0;
    }
    for (size_t i = 0; i < n_fronts; i++) {
        extend(self, layer, i / self->n_kinds, i % self->n_kinds, closing);
    }
    for (size_t kinds = 1; kinds < self->n_kinds; kinds++) {
        drop_beaten(self, kinds);
    }
    uint16_t *trails = self->trails + layer * n_fronts * POINTS_MAX;
    for (size_t i = 0; i < n_fronts; i++) {
        for (size_t p = 0; p < self->current[i].n; p++) {
            trails[i * POINTS_MAX + p] = self->current[i].points[p].trail;
        }
    }
    front *finished = self->current;
    self->current = self->previous;
    self->previous = finished;
}

/* A complete plan: where its point is. */
typedef struct ending {
    size_t part, kinds, place;
    double seconds;
    uint64_t bytes;
} ending;

static double seconds_of(const lmn_time_problem *problem, point last)
{
    const point whole = closed(last, bucket_ready(problem, problem->n_layers - 1));
    return fmax(problem->compute + whole.busy, whole.link) + problem->update;
}

/* The best point of a part of the budget: the fastest, or of those within `limit` the smallest. */
static bool best_of_part(const solver *self, size_t part, double limit, ending *best)
{
    bool found = false;
    for (size_t kinds = 0; kinds < self->n_kinds; kinds++) {
        const front *f = &self->previous[part * self->n_kinds + kinds];
        for (size_t i = 0; i < f->n; i++) {
            const ending e = {.part = part,
                              .kinds = kinds,
                              .place = i,
                              .seconds = seconds_of(self->problem, f->points[i]),
                              .bytes = f->points[i].bytes};
            if (e.seconds > limit) {
                continue;
            }
            const bool is_better =
                isfinite(limit) ? e.bytes < best->bytes : e.seconds < best->seconds;
            *best = !found || is_better ? e : *best;
            found = true;
        }
    }
    return found;
}

static ending choose(const solver *self)
{
    double shortest = (double)INFINITY;
    ending best = {0};
    for (size_t part = 0; part <= self->n_parts; part++) {
        if (best_of_part(self, part, (double)INFINITY, &best)) {
            shortest = fmin(shortest, best.seconds);
        }
    }
    for (size_t part = 0; part <= self->n_parts; part++) {
        if (best_of_part(self, part, shortest * EQUAL, &best)) {
            break;
        }
    }
    return best;
}

static void walk_back(const solver *self, ending end, size_t *levels_out)
{
    const lmn_time_problem *problem = self->problem;
    const size_t n_fronts = (self->n_parts + 1) * self->n_kinds;
    for (size_t layer = problem->n_layers; layer-- > 0;) {
        const size_t at = (layer * n_fronts + end.part * self->n_kinds + end.kinds) * POINTS_MAX;
        const uint16_t trail = self->trails[at + end.place];
        levels_out[layer] = trail >> 8;
        end.part -= parts_of(self, problem->error[layer * problem->n_levels + levels_out[layer]]);
        end.kinds = (trail >> 4) & 15U;
        end.place = trail & 15U;
    }
}

static double dense_seconds(const lmn_time_problem *problem, size_t *levels)
{
    memset(levels, 0, problem->n_layers * sizeof *levels);
    return lmn_time_predict(problem, levels).seconds;
}

/* All layers, from the first; returns the plan to take. */
static ending search(solver *self)
{
    for (size_t i = 0; i < (self->n_parts + 1) * self->n_kinds; i++) {
        self->previous[i].n = 0;
    }
    self->previous[0] = (front){.n = 1};
    for (size_t layer = 0; layer < self->problem->n_layers; layer++) {
        add_layer(self, layer);
    }
    return choose(self);
}

lmn_status lmn_time_solve(const lmn_time_problem *problem, double budget, size_t buckets,
                          void *scratch, size_t *levels_out, lmn_error *err)
{
    const lmn_status status = check_problem(problem, budget, buckets, err);
    if (status != LMN_OK || problem->n_layers == 0) {
        return status;
    }
    const double dense = dense_seconds(problem, levels_out);
    solver self = lay_out(problem, budget, buckets, scratch);
    double shortest = dense;
    double searched = 0.0; /* the step that the last search took its slack from */
    while (shortest < FINER * searched || searched == 0.0) {
        searched = shortest;
        self.slack = NEGLIGIBLE * searched / (double)problem->n_layers;
        walk_back(&self, search(&self), self.found);
        const double seconds = lmn_time_predict(problem, self.found).seconds;
        if (seconds <= shortest) {
            memcpy(levels_out, self.found, problem->n_layers * sizeof *levels_out);
            shortest = seconds;
        }
    }
    return LMN_OK;
}
