/* A continuous-batching engine, advanced from event to event: while nobody joins, leaves or runs out of memory the
 * batch is constant, iteration i takes c0 + slope * i seconds, and k iterations have a closed form. The result is that
 * of stepping through every iteration (reference.py does that; tests compare the two), at a few steps a request. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FRAGMENT 8              /* tokens lost per request in its last 16-token block, on average */
#define MAX_OOM 64
enum { UNFINISHED, FINISHED, LOST, REFUSED };
enum { S_RUNNING, S_WAITING, S_KV, S_KV_PEAK, S_UP, S_PROMPT, S_GENERATED, S_PREEMPTED, S_BUSY, S_BYTES, S_FLOPS,
       S_BOOTS, S_COLUMNS };

typedef struct {
    double weight_s, compute_s, kv_s, attention_s, fixed_s, sequence_s, exchange_s, loading_s;
    double weight_bytes, kv_bytes, flops, attention_flops;
    int64_t pool, max_seqs, max_batched, oom_prompt, pool_is_hard, max_oom, single_step;
} Engine;

typedef struct { int64_t v; int32_t id; } Due;

typedef struct {
    const Engine *e;
    int64_t n_requests, n_samples, n_events, n_edges;
    const double *arrival, *sample_t, *event_t, *event_down, *edges;
    const int32_t *prompt, *output;
    double *admitted, *first, *finished, *samples, *itl, *itl_sum, *oom_t;
    int32_t *preempted; int8_t *status;
    int64_t n_oom;
    /* state */
    double t; int64_t v, next_arrival, seen, next_sample, next_event, boots; double up_at; int up;
    int64_t n_running, n_decoding, kv_decoding, kv_prefill, kv_peak;
    int32_t *prev, *next, *generated, *remaining, *position; int64_t *due_v; int32_t last;
    Due *heap; int64_t heap_n, heap_cap;
    int32_t *prefill; int64_t prefill_head, prefill_tail;
    int32_t *requeued; int64_t requeued_n;
    double c_prompt, c_generated, c_preempted, c_busy, c_bytes, c_flops, c_itl_sum; double *c_itl;
} Sim;

static void heap_push(Sim *s, int64_t v, int32_t id) {
    if (s->heap_n == s->heap_cap) { s->heap_cap *= 2; s->heap = realloc(s->heap, sizeof(Due) * s->heap_cap); }
    int64_t i = s->heap_n++;
    while (i > 0 && s->heap[(i - 1) / 2].v > v) { s->heap[i] = s->heap[(i - 1) / 2]; i = (i - 1) / 2; }
    s->heap[i].v = v; s->heap[i].id = id;
}

static void heap_pop(Sim *s) {
    Due x = s->heap[--s->heap_n];
    int64_t i = 0, n = s->heap_n;
    for (;;) {
        int64_t c = 2 * i + 1;
        if (c >= n) break;
        if (c + 1 < n && s->heap[c + 1].v < s->heap[c].v) c++;
        if (s->heap[c].v >= x.v) break;
        s->heap[i] = s->heap[c]; i = c;
    }
    if (n > 0) s->heap[i] = x;
}

static void drop_stale(Sim *s) {
    while (s->heap_n > 0 && s->due_v[s->heap[0].id] != s->heap[0].v) heap_pop(s);
}

static int64_t held(const Sim *s) { return s->kv_decoding + s->kv_prefill + FRAGMENT * s->n_running; }

static void note_peak(Sim *s) { int64_t h = held(s); if (h > s->kv_peak) s->kv_peak = h; }

static void unlink_running(Sim *s, int32_t id) {
    int32_t p = s->prev[id], n = s->next[id];
    if (p >= 0) s->next[p] = n;
    if (n >= 0) s->prev[n] = p; else s->last = p;
    s->n_running--;
}

static void link_running(Sim *s, int32_t id) {
    s->prev[id] = s->last; s->next[id] = -1;
    if (s->last >= 0) s->next[s->last] = id;
    s->last = id; s->n_running++;
}

static int64_t context(const Sim *s, int32_t id) { return (int64_t)s->prompt[id] + s->generated[id]; }

/* tokens generated so far by a decoding request follow from how far its completion is */
static void settle(Sim *s, int32_t id) { s->generated[id] = s->output[id] - (int32_t)(s->due_v[id] - s->v); }

static void finish(Sim *s, int32_t id) {
    s->finished[id] = s->t; s->status[id] = FINISHED; s->due_v[id] = -1;
    unlink_running(s, id);
}

static void preempt_last(Sim *s) {
    int32_t id = s->last;
    if (s->remaining[id] > 0) {                 /* still in prefill: it is the youngest there too */
        s->prefill_tail--;
        s->kv_prefill -= context(s, id) + 1;
        s->remaining[id] = 0;
    } else {
        settle(s, id);
        s->due_v[id] = -1;
        s->kv_decoding -= context(s, id); s->n_decoding--;
    }
    unlink_running(s, id);
    s->requeued[s->requeued_n++] = id;
    s->preempted[id]++; s->c_preempted++;
}

static void reset_counters(Sim *s) {
    s->c_prompt = s->c_generated = s->c_preempted = s->c_busy = s->c_bytes = s->c_flops = s->c_itl_sum = 0;
    memset(s->c_itl, 0, sizeof(double) * (s->n_edges + 1));
    s->boots++;
}

static void crash(Sim *s, double down) {
    for (int32_t id = s->last; id >= 0; id = s->prev[id]) { s->status[id] = LOST; s->due_v[id] = -1; }
    for (int64_t i = 0; i < s->requeued_n; i++) s->status[s->requeued[i]] = LOST;
    while (s->next_arrival < s->n_requests && s->arrival[s->next_arrival] <= s->t)
        s->status[s->next_arrival++] = LOST;
    s->last = -1; s->n_running = s->n_decoding = s->kv_decoding = s->kv_prefill = s->kv_peak = 0;
    s->heap_n = 0; s->prefill_head = s->prefill_tail = 0; s->requeued_n = 0;
    s->up = 0; s->up_at = s->t + down;
    reset_counters(s);
}

static void emit(Sim *s, double until) {
    while (s->next_sample < s->n_samples && s->sample_t[s->next_sample] <= until) {
        double at = s->sample_t[s->next_sample];
        if (s->next_event < s->n_events && s->event_t[s->next_event] <= at) return;     /* the event comes first */
        double *row = s->samples + s->next_sample * S_COLUMNS;
        if (s->seen < s->next_arrival) s->seen = s->next_arrival;
        while (s->seen < s->n_requests && s->arrival[s->seen] <= at) s->seen++;
        row[S_RUNNING] = (double)s->n_running;
        row[S_WAITING] = s->up ? (double)(s->seen - s->next_arrival + s->requeued_n) : 0.0;
        row[S_KV] = (double)held(s); row[S_KV_PEAK] = (double)(s->kv_peak > held(s) ? s->kv_peak : held(s));
        row[S_UP] = s->up;
        row[S_PROMPT] = s->c_prompt; row[S_GENERATED] = s->c_generated; row[S_PREEMPTED] = s->c_preempted;
        row[S_BUSY] = s->c_busy; row[S_BYTES] = s->c_bytes; row[S_FLOPS] = s->c_flops; row[S_BOOTS] = (double)s->boots;
        memcpy(s->itl + s->next_sample * (s->n_edges + 1), s->c_itl, sizeof(double) * (s->n_edges + 1));
        s->itl_sum[s->next_sample] = s->c_itl_sum;
        s->kv_peak = held(s);
        s->next_sample++;
    }
}

/* smallest k >= 1 with k * c0 + slope * k (k - 1) / 2 >= span */
static int64_t steps_to(double span, double c0, double slope) {
    if (span <= c0) return 1;
    double b = c0 - slope / 2.0;
    double root = slope > 0 ? (-b + sqrt(b * b + 2.0 * slope * span)) / slope : span / c0;
    if (!(root < 9e15)) return INT64_MAX;
    int64_t k = (int64_t)floor(root) - 1;
    if (k < 1) k = 1;
    while (k * c0 + slope * 0.5 * (double)k * (double)(k - 1) < span) k++;
    return k;
}

/* n sequences saw k gaps of c0, c0 + slope, ...: into the histogram of inter-token latencies */
static void note_gaps(Sim *s, double n, int64_t k, double c0, double slope) {
    int64_t done = 0;
    for (int64_t b = 0; b < s->n_edges && done < k; b++) {
        int64_t below;
        if (s->edges[b] < c0) below = 0;
        else if (slope <= 0) below = k;
        else { double x = floor((s->edges[b] - c0) / slope) + 1.0; below = x > (double)k ? k : (int64_t)x; }
        if (below > done) { s->c_itl[b] += n * (double)(below - done); done = below; }
    }
    s->c_itl[s->n_edges] += n * (double)(k - done);
    s->c_itl_sum += n * (k * c0 + slope * 0.5 * (double)k * (double)(k - 1));
}

static void advance(Sim *s, int64_t k, double c0, double slope, int64_t prefill_tokens, double attention) {
    const Engine *e = s->e;
    double n = (double)s->n_decoding, span = k * c0 + slope * 0.5 * (double)k * (double)(k - 1);
    if (s->n_decoding > 0) note_gaps(s, n, k, c0, slope);
    double kv_sum = (double)k * (double)s->kv_decoding + n * 0.5 * (double)k * (double)(k - 1);
    s->c_bytes += (double)k * e->weight_bytes + kv_sum * e->kv_bytes;
    s->c_flops += ((double)k * n + (double)prefill_tokens) * e->flops + attention * e->attention_flops;
    s->c_busy += span; s->c_generated += n * (double)k;
    s->t += span; s->v += k; s->kv_decoding += s->n_decoding * k;
    note_peak(s);
    for (;;) {
        drop_stale(s);
        if (s->heap_n == 0 || s->heap[0].v > s->v) break;
        int32_t id = s->heap[0].id;
        heap_pop(s);
        s->generated[id] = s->output[id];
        s->kv_decoding -= context(s, id); s->n_decoding--;
        finish(s, id);
    }
}

static void end_prefill(Sim *s, int32_t id) {
    s->kv_prefill -= context(s, id) + 1;
    if (isnan(s->first[id])) { s->first[id] = s->t; s->c_prompt += s->prompt[id]; }
    s->generated[id]++; s->c_generated++;
    if (s->generated[id] >= s->output[id]) { finish(s, id); return; }
    s->kv_decoding += context(s, id); s->n_decoding++;
    s->due_v[id] = s->v + (s->output[id] - s->generated[id]);
    heap_push(s, s->due_v[id], id);
}

static int32_t head(const Sim *s) {
    if (s->requeued_n > 0) return s->requeued[s->requeued_n - 1];
    if (s->next_arrival < s->n_requests && s->arrival[s->next_arrival] <= s->t) return (int32_t)s->next_arrival;
    return -1;
}

static int64_t take_chunk(Sim *s, int32_t id, int64_t budget, double *attention) {
    int64_t chunk = s->remaining[id] < budget ? s->remaining[id] : budget;
    *attention += (double)chunk * ((double)s->position[id] + 0.5 * (double)chunk);
    s->remaining[id] -= (int32_t)chunk; s->position[id] += (int32_t)chunk;
    return chunk;
}

static void append_prefill(Sim *s, int32_t id) {
    if (s->prefill_tail > s->n_requests) {      /* the array has one cell more than there are requests */
        s->prefill_tail -= s->prefill_head;
        memmove(s->prefill, s->prefill + s->prefill_head, sizeof(int32_t) * s->prefill_tail);
        s->prefill_head = 0;
    }
    s->prefill[s->prefill_tail++] = id;
}

/* admits from the queue while tokens, sequences and memory last; returns tokens taken, or -1 on out-of-memory */
static int64_t admit(Sim *s, int64_t budget, double *attention) {
    const Engine *e = s->e;
    int64_t taken = 0;
    int32_t id;
    while (budget > taken && s->n_running < e->max_seqs && (id = head(s)) >= 0) {
        int64_t need = context(s, id) + 1;
        int fits = held(s) + need + FRAGMENT + s->n_decoding <= e->pool;
        if (!fits && e->pool_is_hard) return -1;
        if (!fits && s->n_running > 0) break;
        if (s->prompt[id] > e->oom_prompt) return -1;
        if (s->requeued_n > 0) s->requeued_n--; else s->next_arrival++;
        if (isnan(s->admitted[id])) s->admitted[id] = s->t;
        s->remaining[id] = (int32_t)context(s, id); s->position[id] = 0;
        s->kv_prefill += need; link_running(s, id);
        append_prefill(s, id);
        taken += take_chunk(s, id, budget - taken, attention);
    }
    note_peak(s);
    return taken;
}

static int64_t continue_prefill(Sim *s, int64_t budget, double *attention) {
    int64_t taken = 0;
    for (int64_t i = s->prefill_head; i < s->prefill_tail && taken < budget; i++)
        taken += take_chunk(s, s->prefill[i], budget - taken, attention);
    return taken;
}

static int make_room(Sim *s) {
    int preempted = 0;
    while (s->n_running > 1 && held(s) + s->n_decoding > s->e->pool) {
        if (s->e->pool_is_hard) return -1;
        preempt_last(s); preempted = 1;
    }
    return preempted;
}

static void out_of_memory(Sim *s) {
    if (s->n_oom < MAX_OOM) s->oom_t[s->n_oom] = s->t;
    s->n_oom++;
    crash(s, s->e->loading_s);
}

static int64_t decode_steps(Sim *s, double c0, double slope, double horizon) {
    if (s->e->single_step) return 1;
    drop_stale(s);
    int64_t k = s->heap[0].v - s->v, room = (s->e->pool - held(s)) / s->n_decoding;
    if (s->n_running > 1 && room < k) k = room;
    if (s->n_running < s->e->max_seqs && s->requeued_n == 0 && s->next_arrival < s->n_requests &&
        s->arrival[s->next_arrival] > s->t && s->arrival[s->next_arrival] < horizon)
        horizon = s->arrival[s->next_arrival];
    int64_t limit = steps_to(horizon - s->t, c0, slope);
    if (limit < k) k = limit;
    return k < 1 ? 1 : k;
}

static double next_mark(const Sim *s, double end) {
    double mark = end;
    if (s->next_sample < s->n_samples && s->sample_t[s->next_sample] < mark) mark = s->sample_t[s->next_sample];
    if (s->next_event < s->n_events && s->event_t[s->next_event] < mark) mark = s->event_t[s->next_event];
    return mark;
}

static void iterate(Sim *s, double end) {
    const Engine *e = s->e;
    int preempted = make_room(s);
    if (preempted < 0) { out_of_memory(s); return; }
    double attention = 0.0;
    int64_t budget = e->max_batched - s->n_decoding;
    int64_t tokens = continue_prefill(s, budget, &attention);
    if (!preempted && budget > tokens) {
        int64_t more = admit(s, budget - tokens, &attention);
        if (more < 0) { out_of_memory(s); return; }
        tokens += more;
    }
    double n = (double)s->n_decoding, p = (double)tokens;
    double compute = e->compute_s * (n + p);
    double c0 = (compute > e->weight_s ? compute : e->weight_s) + e->kv_s * (double)s->kv_decoding + e->fixed_s +
                n * e->sequence_s + (n + p) * e->exchange_s + e->attention_s * attention;
    if (tokens == 0) {
        double slope = e->kv_s * n;
        int64_t k = preempted ? 1 : decode_steps(s, c0, slope, next_mark(s, end));
        advance(s, k, c0, slope, 0, 0.0);
        return;
    }
    advance(s, 1, c0, 0.0, tokens, attention);
    while (s->prefill_head < s->prefill_tail && s->remaining[s->prefill[s->prefill_head]] == 0)
        end_prefill(s, s->prefill[s->prefill_head++]);
    if (s->prefill_head == s->prefill_tail) s->prefill_head = s->prefill_tail = 0;
    note_peak(s);
}

static void rest(Sim *s, double end) {
    double until = next_mark(s, end);
    if (!s->up && s->up_at < until) until = s->up_at;
    if (s->up && s->next_arrival < s->n_requests && s->arrival[s->next_arrival] < until)
        until = s->arrival[s->next_arrival];
    if (until > s->t) s->t = until;
    if (s->up) return;
    while (s->next_arrival < s->n_requests && s->arrival[s->next_arrival] <= s->t && s->arrival[s->next_arrival] < s->up_at)
        s->status[s->next_arrival++] = REFUSED;
    if (s->t >= s->up_at) s->up = 1;
}

static void handle_events(Sim *s) {
    while (s->next_event < s->n_events && s->event_t[s->next_event] <= s->t) {
        double down = s->event_down[s->next_event++];
        if (down < 0) reset_counters(s); else crash(s, down);
    }
}

int64_t twin_run(const Engine *e, int64_t n_requests, const double *arrival, const int32_t *prompt,
                 const int32_t *output, int64_t n_samples, const double *sample_t, int64_t n_events,
                 const double *event_t, const double *event_down, int64_t n_edges, const double *edges, double end,
                 double *admitted, double *first, double *finished, int32_t *preempted, int8_t *status,
                 double *samples, double *itl, double *itl_sum, double *oom_t) {
    Sim s; memset(&s, 0, sizeof s);
    s.e = e; s.n_requests = n_requests; s.n_samples = n_samples; s.n_events = n_events; s.n_edges = n_edges;
    s.arrival = arrival; s.prompt = prompt; s.output = output; s.sample_t = sample_t;
    s.event_t = event_t; s.event_down = event_down; s.edges = edges;
    s.admitted = admitted; s.first = first; s.finished = finished; s.preempted = preempted; s.status = status;
    s.samples = samples; s.itl = itl; s.itl_sum = itl_sum; s.oom_t = oom_t;
    int64_t cells = n_requests + 1;
    int32_t *block = calloc(cells * 7, sizeof(int32_t));
    s.prev = block; s.next = block + cells; s.generated = block + 2 * cells; s.remaining = block + 3 * cells;
    s.position = block + 4 * cells; s.prefill = block + 5 * cells; s.requeued = block + 6 * cells;
    s.due_v = malloc(sizeof(int64_t) * cells);
    for (int64_t i = 0; i < cells; i++) s.due_v[i] = -1;
    s.heap_cap = 1024; s.heap = malloc(sizeof(Due) * s.heap_cap);
    s.c_itl = calloc(n_edges + 1, sizeof(double));
    s.last = -1; s.up = 1;
    while (s.t < end && s.n_oom < e->max_oom) {
        handle_events(&s);
        emit(&s, s.t);
        if (!s.up || (s.n_running == 0 && head(&s) < 0)) rest(&s, end); else iterate(&s, end);
        emit(&s, s.t);
    }
    free(block); free(s.due_v); free(s.heap); free(s.c_itl);
    return s.n_oom;
}
