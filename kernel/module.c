/* The compiled kernel of router.perceive: reading of prompts and forecasts, to the same bits as the numpy code.
 *
 * Each type binds the arrays of one stage once; its method then has a few pointers to follow. Everything that a caller
 * passes is checked here, so that the arithmetic need not. Built for the limited API of Python 3.11 (abi3).
 */
#include "python.h"
#include "structs.h"
#include "words.h"

#ifndef PULVINAR_SOURCES
#define PULVINAR_SOURCES "unknown"
#endif

#define ISA(name) name##_baseline
#define IS_AVX2 0
#define WIDEN4 WIDENED
#include "arithmetic.h"
#include "batches.h"
#undef ISA
#undef IS_AVX2
#undef WIDEN4

#if defined(__x86_64__) || defined(_M_X64)
#define HAS_AVX2 1
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,f16c")
#endif
#define ISA(name) name##_avx2
#define IS_AVX2 1
#define WIDEN4 WIDENED_BY_AVX2
#include "arithmetic.h"
#include "batches.h"
#undef ISA
#undef IS_AVX2
#undef WIDEN4
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#include <cpuid.h>

/* Not __builtin_cpu_supports, which needs a table that not every compiler's run-time library has. */
static int machine_has_avx2(void)
{
    unsigned a, b, c, d, low, high;
    /* XSAVE, AVX and the conversion of half floats, which every machine with AVX2 has. */
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27)) || !(c & (1u << 28)) || !(c & (1u << 29)))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 6) != 6)
        return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 5));
}
#else
#define HAS_AVX2 0
#endif

static const Arithmetic *arithmetic = &arithmetic_baseline;
static const Batches *batches = &batches_baseline;

/* ---- binding ---------------------------------------------------------------------------------------------------- */

enum { MOST_BUFFERS = 16 };
enum { PIECES, TABLE, SURFACE, READING, PROJECTION, CARDS, PROMPTS, PLANS, WORDS, TYPES };
static PyTypeObject *types[TYPES];

/* What one call reads a prompt with; `reading` is NULL without a reader. `dense` is the width without its reading. */
typedef struct {
    const Vocabulary *vocabulary;
    const Table *table;
    const Surface *surface;
    const Reading *reading;
    long dense, width;
    char *kept;
} Prompts;

typedef struct {
    PyObject_HEAD
    int bound;
    Py_buffer buffers[MOST_BUFFERS];
    PyObject *others[4];
    void *freed[4];
    union {
        Table table;
        Vocabulary vocabulary;
        Lexicon lexicon;
        Surface surface;
        Reading reading;
        Projection projection;
        Cards cards;
        Prompts prompts;
        Plans plans;
    } as;
} Stage;

static Stage *new_stage(PyTypeObject *type)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return (Stage *)allocate(type, 0);
}

static void stage_dealloc(PyObject *object)
{
    Stage *self = (Stage *)object;
    PyTypeObject *type = object->ob_type;
    for (int i = 0; i < self->bound; i++)
        PyBuffer_Release(&self->buffers[i]);
    for (int i = 0; i < 4; i++)
        PyMem_Free(self->freed[i]);
    for (int i = 0; i < 4; i++)
        if (self->others[i] != NULL)
            Py_DecRef(self->others[i]);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DecRef((PyObject *)type);
}

static int has_format(const Py_buffer *buffer, char kind, Py_ssize_t size)
{
    const char *format = buffer->format ? buffer->format : "B";
    if (*format == '@' || *format == '=' || *format == '<')
        format++;
    char found = *format;
    if (kind == 'q' && found == 'l')
        found = 'q';
    return found == kind && !format[1] && buffer->itemsize == size && (uintptr_t)buffer->buf % (size_t)size == 0;
}

static Py_ssize_t size_of(char kind)
{
    return kind == 'd' || kind == 'q' ? 8 : kind == 'f' || kind == 'i' ? 4 : kind == 'e' || kind == 'H' ? 2 : 1;
}

/* A contiguous array of `kind` with `count` numbers (any count where it is negative), or NULL with an exception. */
static int get(PyObject *object, Py_buffer *buffer, char kind, Py_ssize_t count, int flags)
{
    if (PyObject_GetBuffer(object, buffer, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags) < 0)
        return -1;
    Py_ssize_t size = size_of(kind);
    if (!has_format(buffer, kind, size) || (count >= 0 && buffer->len != count * size)) {
        PyErr_Format(PyExc_ValueError, "expected %zd numbers of type %c, got %zd bytes of type %s", count, kind,
                     buffer->len, buffer->format ? buffer->format : "B");
        PyBuffer_Release(buffer);
        return -1;
    }
    return 0;
}

static void *bind(Stage *self, PyObject *object, char kind, Py_ssize_t count)
{
    Py_buffer *buffer = &self->buffers[self->bound];
    if (get(object, buffer, kind, count, 0) < 0)
        return NULL;
    self->bound++;
    return buffer->buf;
}

static Py_ssize_t bound_count(const Stage *self) { return self->buffers[self->bound - 1].len / self->buffers[self->bound - 1].itemsize; }

static PyObject *refuse(Stage *self, const char *reason)
{
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, reason);
    if (self != NULL)
        Py_DecRef((PyObject *)self);
    return NULL;
}

static PyObject *none(void)
{
    Py_IncRef(Py_None);
    return Py_None;
}

static int has_arguments(Py_ssize_t given, Py_ssize_t expected)
{
    if (given == expected)
        return 1;
    PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", expected, given);
    return 0;
}

#include "choice.h"
#include "plans.h"
#include "figures.h"

/* ---- word pieces -------------------------------------------------------------------------------------------------- */

/* Pieces(pieces: list[str] by id, prefix of continuations, id of the unknown word, most characters of a word,
 *        characters int32 (END_KNOWN - FIRST_KNOWN, 3), what is not split) */
static PyObject *pieces_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *pieces, *of_prefix, *characters, *specials;
    Py_ssize_t prefix_length, most, unknown;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "OOnnOO", &pieces, &of_prefix, &unknown, &most, &characters, &specials))
        return NULL;
    const char *prefix = PyUnicode_AsUTF8AndSize(of_prefix, &prefix_length);
    if (prefix == NULL)
        return NULL;
    if (!is_a(pieces, LIST) || !is_a(specials, TUPLE))
        return refuse(NULL, "the pieces are no list, or what is not split is no tuple");
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    Vocabulary *vocabulary = &self->as.vocabulary;
    Py_ssize_t count = PyList_Size(pieces), size, bytes = 0;
    if (most < 1 || 4 * most > MOST_WORD || unknown < 0 || count > 1 << 24)
        return refuse(self, "the longest word or the number of pieces is out of range");
    for (Py_ssize_t i = 0; i < count; i++) {
        if (PyUnicode_AsUTF8AndSize(PyList_GetItem(pieces, i), &size) == NULL)
            return refuse(self, "");
        bytes += size;
    }
    if ((vocabulary->characters = bind(self, characters, 'i', 3 * (END_KNOWN - FIRST_KNOWN))) == NULL)
        return refuse(self, "");
    for (long i = 0; i < END_KNOWN - FIRST_KNOWN; i++) {
        const Character *character = &vocabulary->characters[i];
        if (character->kind < 0 || character->kind >= KINDS || character->form < 0 || character->form > 0xFFFF ||
            character->lower < 0 || character->lower > 0xFFFF)
            return refuse(self, "there is a character that is out of range");
    }
    vocabulary->specials = (int)PyTuple_Size(specials);
    if (vocabulary->specials > MOST_SPECIALS)
        return refuse(self, "too many words that are not split");
    for (int i = 0; i < vocabulary->specials; i++) {
        PyObject *special = PyTuple_GetItem(specials, i);
        uint32_t text[17];
        if (!is_a(special, UNICODE) || (size = PyUnicode_GetLength(special)) < 1 || size > 16 ||
            PyUnicode_AsUCS4(special, text, 17, 1) == NULL || text[0] != '[')
            return refuse(self, "a word that is not split is too long, or does not begin with a bracket");
        memcpy(vocabulary->special[i].text, text, (size_t)size * sizeof *text);
        vocabulary->special[i].length = (long)size;
    }
    uint32_t slots = 1024;
    while (slots < 2 * count)
        slots *= 2;
    vocabulary->mask = slots - 1;
    vocabulary->unknown = unknown;
    vocabulary->most_characters = most;
    for (int i = 0; i < 2; i++)
        self->freed[i] = vocabulary->slots[i] = PyMem_Calloc(slots, sizeof(Slot));
    for (int c = 0; c < 128; c++)
        vocabulary->of_ascii[c] = -1;
    self->freed[2] = vocabulary->pool = PyMem_Malloc((size_t)bytes + (size_t)count * sizeof(Piece) + 1);
    self->freed[3] = vocabulary->may_have[0] = PyMem_Calloc(2, FILTER_BYTES);
    if (!vocabulary->slots[0] || !vocabulary->slots[1] || !vocabulary->pool || !vocabulary->may_have[0]) {
        PyErr_NoMemory();
        return refuse(self, "");
    }
    vocabulary->may_have[1] = vocabulary->may_have[0] + FILTER_BYTES;
    uint32_t offset = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        const char *piece = PyUnicode_AsUTF8AndSize(PyList_GetItem(pieces, i), &size);
        int continues = size > prefix_length && !memcmp(piece, prefix, (size_t)prefix_length);
        if (continues) {
            piece += prefix_length;
            size -= prefix_length;
        }
        /* What is longer than a word that is read cannot occur in one. */
        if (size == 0 || size >= MOST_WORD)
            continue;
        offset = add_piece(vocabulary, piece, (uint32_t)size, offset, continues, (int32_t)i);
    }
    return (PyObject *)self;
}

/* ---- embedding ------------------------------------------------------------------------------------------------------ */

/* Table(rows int8 (tokens, embedded), scales float32 (tokens,), the lexicon's tokens uint16 (entries, of each) and
 *       weights uint8 (the same), the first token for hashes, the number of tokens for them, the number of hashes) */
static PyObject *table_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *rows, *scales, *tokens, *weights;
    Py_ssize_t entries, first, hashed, hashes;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "OOOOnnnn", &rows, &scales, &tokens, &weights, &entries, &first, &hashed, &hashes))
        return NULL;
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    Table *table = &self->as.table;
    if ((table->scales = bind(self, scales, 'f', -1)) == NULL)
        return refuse(self, "");
    table->tokens = (long)bound_count(self);
    if ((table->rows = bind(self, rows, 'b', -1)) == NULL)
        return refuse(self, "");
    table->embedded = table->tokens ? (long)(bound_count(self) / table->tokens) : 0;
    if (table->embedded < 1 || table->embedded > MOST_EMBEDDED || bound_count(self) != (Py_ssize_t)table->embedded * table->tokens)
        return refuse(self, "the rows and scales of the table do not fit together");
    if ((table->entry_tokens = bind(self, tokens, 'H', -1)) == NULL)
        return refuse(self, "");
    Py_ssize_t of_entries = bound_count(self);
    if ((table->entry_weights = bind(self, weights, 'B', of_entries)) == NULL)
        return refuse(self, "");
    if (entries < 0 || entries > 1 << 24 || first < 0 || first > table->tokens || hashed < 1 ||
        hashed > table->tokens - first || hashes < 1 || hashes > 1 << 24 || (entries ? of_entries % entries : of_entries))
        return refuse(self, "the lexicon and the table do not fit together");
    table->entries = (long)entries;
    table->of_entry = entries ? (long)(of_entries / entries) : 0;
    table->first_hashed = (long)first;
    table->hashed = (long)hashed;
    table->hashes = (long)hashes;
    for (Py_ssize_t i = 0; i < of_entries; i++)
        if (table->entry_tokens[i] >= table->tokens)
            return refuse(self, "the lexicon refers to a token that is not in the table");
    return (PyObject *)self;
}

/* ---- surface features -------------------------------------------------------------------------------------------------- */

enum { MOST_POSITIONS = 4096 };

static int add_needles(Surface *surface, PyObject *texts)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(texts); i++) {
        Py_ssize_t length;
        const char *text = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(texts, i), &length);
        if (text == NULL || surface->needles == MOST_NEEDLES)
            return 0;
        Needle *needle = &surface->needle[surface->needles++];
        if (length < 2 || length > (Py_ssize_t)sizeof needle->text)
            return 0;
        memcpy(needle->text, text, (size_t)length);
        needle->length = (uint32_t)length;
    }
    return 1;
}

/* Surface(classes uint8 (65536,), strings of code, phrases, ((first word, position), …), positions) */
static PyObject *surface_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *classes, *codes, *phrases, *openings;
    Py_ssize_t positions;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "OOOOn", &classes, &codes, &phrases, &openings, &positions))
        return NULL;
    if (!is_a(codes, TUPLE) || !is_a(phrases, TUPLE) || !is_a(openings, TUPLE))
        return refuse(NULL, "the strings are no tuples");
    if (positions < 0 || positions > MOST_POSITIONS)
        return refuse(NULL, "the number of positions is out of range");
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    Surface *surface = &self->as.surface;
    if ((surface->classes = bind(self, classes, 'B', 0x10000)) == NULL)
        return refuse(self, "");
    for (long i = 0; i < 0x10000; i++)
        if (surface->classes[i] >= CLASSES)
            return refuse(self, "there is a class of characters that does not exist");
    if (!add_needles(surface, codes))
        return refuse(self, "too many or too long strings of code");
    surface->codes = surface->needles;
    if (!add_needles(surface, phrases) || surface->codes == MOST_NEEDLES)
        return refuse(self, "too many or too long phrases");
    prepare_needles(surface);
    surface->openings = (long)PyTuple_Size(openings);
    surface->positions = (long)positions;
    self->freed[0] = surface->opening = PyMem_Calloc((size_t)surface->openings + 1, sizeof(Opening));
    if (surface->opening == NULL)
        return PyErr_NoMemory(), refuse(self, "");
    for (long i = 0; i < surface->openings; i++) {
        Opening *opening = &surface->opening[i];
        const char *word;
        Py_ssize_t length, position;
        PyObject *of_word, *pair = PyTuple_GetItem(openings, i);
        if (!is_a(pair, TUPLE) || !PyArg_ParseTuple(pair, "On", &of_word, &position) ||
            (word = PyUnicode_AsUTF8AndSize(of_word, &length)) == NULL || length > FIRST_WORD || position < 0 || position >= positions)
            return refuse(self, "a first word is too long or has no position");
        memcpy(opening->text, word, (size_t)length);
        opening->length = (uint32_t)length;
        opening->position = (uint32_t)position;
    }
    return (PyObject *)self;
}

static Py_ssize_t surface_width(const Surface *surface)
{
    return 3 + WIDER + 9 + surface->positions + (surface->needles - surface->codes) + CLASSES - WIDER;
}

/* ---- reading -------------------------------------------------------------------------------------------------------------- */

static int bind_landmarks(Stage *self, Landmarks *landmarks, PyObject *center, PyObject *integers, PyObject *scale,
                          Py_ssize_t levels)
{
    if ((landmarks->center = bind(self, center, 'f', -1)) == NULL)
        return 0;
    landmarks->embedded = (long)bound_count(self);
    if ((landmarks->scale = bind(self, scale, 'f', -1)) == NULL)
        return 0;
    landmarks->count = (long)bound_count(self);
    landmarks->levels = (long)levels;
    landmarks->integers = bind(self, integers, 'b', (Py_ssize_t)landmarks->count * landmarks->embedded);
    return landmarks->integers != NULL && landmarks->count > 0 && landmarks->embedded > 0 &&
           landmarks->embedded <= MOST_EMBEDDED && landmarks->count <= MOST_REGRESSORS && levels > 0 && levels < 128;
}

/* Reading(landmarks' center, integers, scale, levels, center, bound, weights (regressors, columns), intercept,
 *         curve's points and values, grams) */
static PyObject *reading_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *of_landmarks[3], *center, *bound, *weights, *intercept, *points, *values, *grams;
    Py_ssize_t levels;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "OOOnOOOOOOO", &of_landmarks[0], &of_landmarks[1], &of_landmarks[2], &levels,
                          &center, &bound, &weights, &intercept, &points, &values, &grams))
        return NULL;
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    Reading *reading = &self->as.reading;
    if (!bind_landmarks(self, &reading->landmarks, of_landmarks[0], of_landmarks[1], of_landmarks[2], levels))
        return refuse(self, "the landmarks do not fit together");
    if ((reading->center = bind(self, center, 'd', -1)) == NULL)
        return refuse(self, "");
    reading->dense = (long)bound_count(self);
    if ((reading->bound = bind(self, bound, 'd', reading->dense)) == NULL ||
        (reading->intercept = bind(self, intercept, 'd', -1)) == NULL)
        return refuse(self, "");
    reading->readings = (long)bound_count(self);
    if ((reading->curve_points = bind(self, points, 'd', -1)) == NULL)
        return refuse(self, "");
    reading->points = (long)bound_count(self);
    long regressors = reading->dense + reading->landmarks.count;
    if ((reading->curve_values = bind(self, values, 'd', reading->points)) == NULL ||
        (reading->grams = bind(self, grams, 'e', ((Py_ssize_t)1 << 15) * reading->readings)) == NULL ||
        (reading->weights = bind(self, weights, 'd', -1)) == NULL)
        return refuse(self, "");
    reading->columns = regressors ? (long)(bound_count(self) / regressors) : 0;
    if (bound_count(self) != (Py_ssize_t)regressors * reading->columns || regressors > MOST_REGRESSORS ||
        reading->dense < 4 + reading->landmarks.embedded || reading->columns > MOST_COLUMNS ||
        reading->columns < reading->readings || reading->columns % 4 || reading->readings < 2 || reading->points < 1)
        return refuse(self, "the arrays of the reader do not fit together");
    return (PyObject *)self;
}

#include "prompt.h"
#include "many.h"

/* ---- words of the lexicon ----------------------------------------------------------------------------------------- */

/* Words(words in UTF-8, separated by line breaks) */
static PyObject *words_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *words;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "O", &words))
        return NULL;
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    Lexicon *lexicon = &self->as.lexicon;
    if ((lexicon->text = bind(self, words, 'B', -1)) == NULL)
        return refuse(self, "");
    Py_ssize_t size = bound_count(self);
    if (size > 1 << 28)
        return refuse(self, "too many words");
    size_t count = 1, slots = 1024;
    for (Py_ssize_t i = 0; i < size; i++)
        count += lexicon->text[i] == '\n';
    while (slots < 2 * count)
        slots *= 2;
    lexicon->mask = (uint32_t)slots - 1;
    self->freed[0] = lexicon->slots = PyMem_Calloc(slots, sizeof *lexicon->slots);
    self->freed[1] = lexicon->starts = PyMem_Malloc((count + 1) * sizeof *lexicon->starts);
    self->freed[2] = lexicon->longest = PyMem_Calloc(LONGEST, sizeof *lexicon->longest);
    if (!lexicon->slots || !lexicon->starts || !lexicon->longest) {
        PyErr_NoMemory();
        return refuse(self, "");
    }
    index_words(lexicon, (uint32_t)size);
    return (PyObject *)self;
}

/* entries(text) -> the list of the numbers of its words, the longest first, and of minus one and minus the position of
 * each character at which none begins
 */
static PyObject *words_entries(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    if (!has_arguments(given, 1))
        return NULL;
    const Lexicon *lexicon = &((Stage *)object)->as.lexicon;
    double on_stack[500];
    Room room = {(char *)on_stack, sizeof on_stack, 0, 0, {NULL}};
    Points points;
    PyObject *result = NULL;
    if (points_of(arguments[0], PY_SSIZE_T_MAX / 4, PY_SSIZE_T_MAX / 4, &room, &points))
        result = PyList_New(0);
    for (long at = 0, taken; result != NULL && at < points.length; at += taken) {
        taken = 1;
        long entry = longest_word(lexicon, points.points + at, points.length - at, &taken);
        PyObject *number = PyLong_FromSsize_t(entry < 0 ? -1 - at : entry);
        if (number == NULL || PyList_Append(result, number) < 0) {
            Py_DecRef(result);
            result = NULL;
        }
        if (number != NULL)
            Py_DecRef(number);
    }
    leave(&room);
    return result;
}

/* ---- projection -------------------------------------------------------------------------------------------------------------- */

/* Projection(landmarks' center, integers, scale, levels, center, scale, similarity's center and scale,
 *            in and out of domain float32 (regressors, columns), length float64 (regressors,), axes float32 (embedded,
 *            directions), extra precision, quantiles' scores and novelties, constants) */
static PyObject *projection_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *of_landmarks[3], *center, *scale, *similarity_center, *similarity_scale, *matrix, *length, *axes, *precision;
    PyObject *scores, *novelties, *constants;
    Py_ssize_t levels, skills;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "OOOnnOOOOOOOOOOO", &of_landmarks[0], &of_landmarks[1], &of_landmarks[2], &levels,
                          &skills, &center, &scale, &similarity_center, &similarity_scale, &matrix, &length, &axes, &precision,
                          &scores, &novelties, &constants))
        return NULL;
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    Projection *of = &self->as.projection;
    if (!bind_landmarks(self, &of->landmarks, of_landmarks[0], of_landmarks[1], of_landmarks[2], levels))
        return refuse(self, "the landmarks do not fit together");
    if ((of->center = bind(self, center, 'f', -1)) == NULL)
        return refuse(self, "");
    of->width = (long)bound_count(self);
    of->skills = (long)skills;
    if ((of->scale = bind(self, scale, 'f', of->width)) == NULL ||
        (of->similarity_center = bind(self, similarity_center, 'f', of->landmarks.count)) == NULL ||
        (of->similarity_scale = bind(self, similarity_scale, 'f', of->landmarks.count)) == NULL ||
        (of->extra_precision = bind(self, precision, 'd', -1)) == NULL)
        return refuse(self, "");
    long directions = (long)bound_count(self), regressors = 1 + of->width + of->landmarks.count;
    of->directions = directions;
    if ((of->axes = bind(self, axes, 'f', (Py_ssize_t)of->landmarks.embedded * directions)) == NULL ||
        (of->quantile_scores = bind(self, scores, 'd', -1)) == NULL)
        return refuse(self, "");
    of->quantiles = (long)bound_count(self);
    if ((of->quantile_novelties = bind(self, novelties, 'd', of->quantiles)) == NULL ||
        (of->constants = bind(self, constants, 'd', CONSTANTS)) == NULL ||
        (of->length = bind(self, length, 'd', regressors)) == NULL ||
        (of->in_and_out = bind(self, matrix, 'f', -1)) == NULL)
        return refuse(self, "");
    of->columns = (long)(bound_count(self) / regressors);
    if (bound_count(self) != (Py_ssize_t)regressors * of->columns || regressors > MOST_REGRESSORS ||
        of->columns > MOST_COLUMNS || of->columns % 4 || skills < 1 || skills > MOST_TERMS || of->columns < 2 * skills ||
        directions > MOST_COLUMNS || directions > MOST_EMBEDDED || directions % 4 || of->quantiles < 1 ||
        of->width < of->landmarks.embedded)
        return refuse(self, "the arrays of the projection do not fit together");
    return (PyObject *)self;
}

enum { MANY_PROMPTS = 64 };

/* project(vectors float32 (prompts, width or more), prompts, out float64 (prompts, 6 + skills)) */
static PyObject *projection_project(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    const Projection *of = &((Stage *)object)->as.projection;
    Py_buffer vectors, out;
    if (!has_arguments(given, 3))
        return NULL;
    Py_ssize_t prompts = PyLong_AsSsize_t(arguments[1]), size = PROFILE + 1 + of->skills;
    if (prompts < 0 || prompts > PY_SSIZE_T_MAX / 8 / size) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "a number of prompts is out of range");
        return NULL;
    }
    if (get(arguments[0], &vectors, 'f', -1, 0) < 0)
        return NULL;
    if (get(arguments[2], &out, 'd', prompts * size, PyBUF_WRITABLE) < 0) {
        PyBuffer_Release(&vectors);
        return NULL;
    }
    Py_ssize_t width = prompts ? vectors.len / 4 / prompts : of->width;
    int fits = width >= of->width && width * prompts * 4 == (prompts ? vectors.len : 0);
    /* One prompt takes less time than it takes to get the interpreter's lock back from a thread that is busy. */
    PyThreadState *state = fits && prompts >= MANY_PROMPTS ? PyEval_SaveThread() : NULL;
    if (fits)
        for (Py_ssize_t i = 0; i < prompts; i++)
            arithmetic->project(of, (const float *)vectors.buf + i * width, (double *)out.buf + i * size);
    if (state != NULL)
        PyEval_RestoreThread(state);
    PyBuffer_Release(&vectors);
    PyBuffer_Release(&out);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the feature vectors are too short");
        return NULL;
    }
    return none();
}

/* ---- forecasts ---------------------------------------------------------------------------------------------------------------- */

/* Cards(projection, difficulty variance, strengths (padded / 4, families, 4), variances (the same), interactions
 *       (padded / 4, skills, 4), columns (padded / 4, CARD_COLUMNS, 4)) */
static PyObject *cards_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *projection, *strengths, *variances, *interactions, *columns;
    double variance;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "OdOOOO", &projection, &variance, &strengths, &variances, &interactions,
                          &columns))
        return NULL;
    if (projection->ob_type != types[PROJECTION])
        return refuse(NULL, "the first argument is no projection");
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    Py_IncRef(projection);
    self->others[0] = projection;
    Cards *cards = &self->as.cards;
    cards->difficulty_variance = variance;
    cards->skills = ((Stage *)projection)->as.projection.skills;
    if ((cards->columns = bind(self, columns, 'd', -1)) == NULL)
        return refuse(self, "");
    cards->padded = (long)(bound_count(self) / CARD_COLUMNS);
    int fits = bound_count(self) == (Py_ssize_t)cards->padded * CARD_COLUMNS && cards->padded % 4 == 0;
    if ((cards->interactions = bind(self, interactions, 'd', (Py_ssize_t)cards->padded * cards->skills)) == NULL ||
        (cards->strengths = bind(self, strengths, 'd', -1)) == NULL)
        return refuse(self, "");
    cards->families = cards->padded ? (long)(bound_count(self) / cards->padded) : 1;
    fits = fits && bound_count(self) == (Py_ssize_t)cards->padded * cards->families;
    if ((cards->variances = bind(self, variances, 'd', bound_count(self))) == NULL)
        return refuse(self, "");
    if (!fits || cards->families < 1 || cards->families > MOST_TERMS)
        return refuse(self, "the arrays of the cards do not fit together");
    return (PyObject *)self;
}

/* forecast(vector float32 (width + families or more,), input tokens, output limit, thinking scale, prices float64
 *          (2, padded) in USD a token or None, out float64 (FORECASTS, padded)) -> novelty */
static PyObject *cards_forecast(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    const Stage *self = (Stage *)object;
    const Cards *cards = &self->as.cards;
    const Projection *projection = &((const Stage *)self->others[0])->as.projection;
    if (!has_arguments(given, 6))
        return NULL;
    double numbers[3];
    for (int i = 0; i < 3; i++) {
        numbers[i] = PyFloat_AsDouble(arguments[1 + i]);
        if (numbers[i] == -1.0 && PyErr_Occurred())
            return NULL;
    }
    Py_buffer vector, out, prices;
    if (get(arguments[0], &vector, 'f', projection->width + cards->families, 0) < 0)
        return NULL;
    int tiers = arguments[4] != Py_None, failed = 0;
    if (tiers && get(arguments[4], &prices, 'd', 2 * (Py_ssize_t)cards->padded, 0) < 0) {
        tiers = 0;
        failed = 1;
    }
    if (!failed)
        failed = get(arguments[5], &out, 'd', FORECASTS * (Py_ssize_t)cards->padded, PyBUF_WRITABLE) < 0;
    double prompt[PROFILE + 1 + MOST_TERMS];
    if (!failed) {
        const double *usd = tiers ? prices.buf : cards->columns + INPUT_USD * 4;
        Request request = {numbers[0], numbers[1], numbers[2], usd, usd + (tiers ? cards->padded : 4),
                           tiers ? 4 : 4 * CARD_COLUMNS, 0};
        arithmetic->project(projection, vector.buf, prompt);
        arithmetic->forecast(cards, prompt, (const float *)vector.buf + projection->width, &request, out.buf);
        PyBuffer_Release(&out);
    }
    if (tiers)
        PyBuffer_Release(&prices);
    PyBuffer_Release(&vector);
    return failed ? NULL : PyFloat_FromDouble(prompt[NOVELTY]);
}

/* qualities(vectors float32 (prompts, width + families), prompts, out float64 (prompts, 2, padded)): the quality and its
 * deviation of every card on every prompt. Other threads run meanwhile. */
static PyObject *cards_qualities(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    const Stage *self = (Stage *)object;
    const Cards *cards = &self->as.cards;
    const Projection *projection = &((const Stage *)self->others[0])->as.projection;
    if (!has_arguments(given, 3))
        return NULL;
    Py_ssize_t prompts = PyLong_AsSsize_t(arguments[1]), width = projection->width + cards->families;
    Py_ssize_t padded = cards->padded;
    if (prompts < 0 || prompts > PY_SSIZE_T_MAX / 16 / (width + padded)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "a number of prompts is out of range");
        return NULL;
    }
    Py_buffer vectors, out;
    if (get(arguments[0], &vectors, 'f', prompts * width, 0) < 0)
        return NULL;
    if (get(arguments[2], &out, 'd', prompts * 2 * padded, PyBUF_WRITABLE) < 0) {
        PyBuffer_Release(&vectors);
        return NULL;
    }
    double *forecasts = PyMem_Malloc((size_t)(FORECASTS * padded + 1) * sizeof *forecasts);
    if (forecasts != NULL) {
        PyThreadState *state = PyEval_SaveThread();
        const double *usd = cards->columns + INPUT_USD * 4;
        Request request = {1.0, HUGE_VAL, 1.0, usd, usd + 4, 4 * CARD_COLUMNS, 1};
        double prompt[PROFILE + 1 + MOST_TERMS];
        for (Py_ssize_t i = 0; i < prompts; i++) {
            const float *vector = (const float *)vectors.buf + i * width;
            arithmetic->project(projection, vector, prompt);
            arithmetic->forecast(cards, prompt, vector + projection->width, &request, forecasts);
            /* Quality and deviation are the first of the forecasts. */
            memcpy((double *)out.buf + i * 2 * padded, forecasts, (size_t)(2 * padded) * sizeof *forecasts);
        }
        PyEval_RestoreThread(state);
        PyMem_Free(forecasts);
    }
    PyBuffer_Release(&vectors);
    PyBuffer_Release(&out);
    return forecasts == NULL ? PyErr_NoMemory() : none();
}

/* ---- plans ------------------------------------------------------------------------------------------------------------------- */

/* Whether a plan fits: its members, the calls that it makes at most, and its tables. */
static int plan_fits(const Plans *plans, const int64_t *plan, Py_ssize_t stated, Py_ssize_t tables)
{
    int64_t kind = plan[PLAN_KIND], members = plan[STATED_MEMBERS], times = plan[TIMES], once = plan[AT_ONCE], calls = 0;
    int64_t room = tables - plan[TABLES], has_writer = kind == PANEL;
    if (kind < 0 || kind >= PLAN_KINDS || members < 1 || members > MOST_CALLS || plan[STATED] < 0 ||
        plan[STATED] > stated - members - has_writer || plan[TABLES] < 0 || plan[TABLES] > tables)
        return 0;
    for (int64_t i = 0; i < members + has_writer; i++) {
        const int64_t *member = plans->stated + (plan[STATED] + i) * STATED_INTEGERS;
        int is_card = member[STATED_CARD] >= 0;
        if (member[STATED_CARD] >= plans->cards || member[STATED_LIMITS] < 0 || member[STATED_LIMITS] >= plans->masks ||
            (!is_card && (member[STATED_BEST] < 1 || member[STATED_BEST] > MOST_CALLS)) ||
            (i == members && !is_card && member[STATED_BEST] != 1))
            return 0;
        calls += is_card ? 1 : member[STATED_BEST];
    }
    if (calls > MOST_CALLS)
        return 0;
    if (kind == COMMITTEE)
        return calls <= MOST_VOTERS && room >= calls * (1 << calls) * (1 + 3 * calls);
    if (kind == SAMPLES)
        return calls == 1 && times >= 1 && times <= MOST_CALLS && once >= 1 && once <= times && plan[PARALLEL] >= 1 &&
               plan[PARALLEL] <= MOST_CALLS && room >= (1 + times - once) * (times + 1) + 2;
    return kind != REROUTE || (calls >= 2 && times >= 1 && times < MOST_CALLS);
}

/* Plans(models int64 (cards,), number of limits, plans int64 (plans, PLAN_INTEGERS), numbers float64 (plans,
 *       PLAN_NUMBERS), stated members int64 (members, STATED_INTEGERS), tables float64, constants float64, points of the
 *       normal distribution and its values there, nodes of the quadrature and their weights, qualities and the latent
 *       correlations there) */
static PyObject *plans_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *models, *plan, *numbers, *stated, *tables, *constants, *grid, *cdf, *nodes, *weights, *qualities, *latents;
    Py_ssize_t masks;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "OnOOOOOOOOOOO", &models, &masks, &plan, &numbers, &stated, &tables, &constants,
                          &grid, &cdf, &nodes, &weights, &qualities, &latents))
        return NULL;
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    Plans *plans = &self->as.plans;
    if ((plans->models = bind(self, models, 'q', -1)) == NULL)
        return refuse(self, "");
    plans->cards = (long)bound_count(self);
    plans->masks = (long)masks;
    if (masks < 1 || masks > MOST_MASKS)
        return refuse(self, "the number of limits is out of range");
    if ((plans->plan = bind(self, plan, 'q', -1)) == NULL)
        return refuse(self, "");
    plans->plans = (long)(bound_count(self) / PLAN_INTEGERS);
    if (bound_count(self) != (Py_ssize_t)plans->plans * PLAN_INTEGERS)
        return refuse(self, "the plans are no rows");
    if ((plans->numbers = bind(self, numbers, 'd', (Py_ssize_t)plans->plans * PLAN_NUMBERS)) == NULL ||
        (plans->stated = bind(self, stated, 'q', -1)) == NULL)
        return refuse(self, "");
    Py_ssize_t of_stated = bound_count(self) / STATED_INTEGERS;
    if ((plans->tables = bind(self, tables, 'd', -1)) == NULL)
        return refuse(self, "");
    Py_ssize_t of_tables = bound_count(self);
    for (long i = 0; i < plans->plans; i++)
        if (!plan_fits(plans, plans->plan + i * PLAN_INTEGERS, of_stated, of_tables))
            return refuse(self, "a plan does not fit its members or tables");
    if ((plans->constants = bind(self, constants, 'd', PLAN_CONSTANTS)) == NULL ||
        (plans->grid = bind(self, grid, 'd', -1)) == NULL)
        return refuse(self, "");
    plans->points = (long)bound_count(self);
    if ((plans->cdf = bind(self, cdf, 'd', plans->points)) == NULL || (plans->node = bind(self, nodes, 'd', -1)) == NULL)
        return refuse(self, "");
    plans->nodes = (long)bound_count(self);
    if ((plans->node_weight = bind(self, weights, 'd', plans->nodes)) == NULL ||
        (plans->latent_at = bind(self, qualities, 'd', -1)) == NULL)
        return refuse(self, "");
    plans->latents = (long)bound_count(self);
    if ((plans->latent = bind(self, latents, 'd', plans->latents)) == NULL)
        return refuse(self, "");
    if (plans->points < 2 || plans->nodes < 1 || plans->nodes > MOST_NODES || plans->latents < 1)
        return refuse(self, "the tables of the normal distribution are out of range");
    return (PyObject *)self;
}

/* expected(numbers of plans: tuple, score (cards,), rejected bool (limits, cards), (quality, mean quality, compared
 *          quality, deviation, independent deviation, cost, time to the first token, latency, written tokens, counted
 *          cost, price of a million tokens of input: each (cards,)), and five numbers of Money) -> list of `planned`;
 *          None where the arrays have another form */
static PyObject *plans_expected(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    const Plans *plans = &((const Stage *)object)->as.plans;
    Py_buffer buffers[2 + PLAN_ARRAYS];
    Asking asking;
    double numbers[5];
    int got = 0, made = 1;
    if (!has_arguments(given, 9))
        return NULL;
    for (int i = 0; i < 5; i++) {
        numbers[i] = PyFloat_AsDouble(arguments[4 + i]);
        if (numbers[i] == -1.0 && PyErr_Occurred())
            return NULL;
    }
    if (!is_a(arguments[0], TUPLE) || !is_a(arguments[3], TUPLE) || PyTuple_Size(arguments[3]) != PLAN_ARRAYS) {
        PyErr_SetString(PyExc_TypeError, "the plans or the forecasts are no tuple of this length");
        return NULL;
    }
    asking.money = (Money){numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
    for (int i = 0; i < MOST_MASKS; i++)
        asking.listed[i] = -1;
    int fits = has_form(arguments[1], &buffers[got], 'd', plans->cards, 0) && ++got;
    fits = fits && has_form(arguments[2], &buffers[got], '?', (Py_ssize_t)plans->masks * plans->cards, 0) && ++got;
    for (int i = 0; fits && i < PLAN_ARRAYS; i++)
        fits = has_form(PyTuple_GetItem(arguments[3], i), &buffers[got], 'd', plans->cards, 0) && ++got;
    PyObject *result = fits ? PyList_New(0) : NULL;
    if (fits) {
        asking.score = buffers[0].buf;
        asking.rejected = buffers[1].buf;
        for (int i = 0; i < PLAN_ARRAYS; i++)
            asking.of_cards[i] = buffers[2 + i].buf;
        made = result != NULL;
        for (Py_ssize_t i = 0; made && i < PyTuple_Size(arguments[0]); i++) {
            Py_ssize_t number = PyLong_AsSsize_t(PyTuple_GetItem(arguments[0], i));
            if (number < 0 || number >= plans->plans) {
                if (!PyErr_Occurred())
                    PyErr_SetString(PyExc_ValueError, "there is no such plan");
                made = 0;
                break;
            }
            PyObject *found = planned(plans, &asking, (long)number);
            made = found != NULL && PyList_Append(result, found) == 0;
            if (found != NULL)
                Py_DecRef(found);
        }
    }
    for (int i = 0; i < got; i++)
        PyBuffer_Release(&buffers[i]);
    if (!fits)
        return none();
    if (!made && result != NULL)
        Py_DecRef(result);
    return made ? result : NULL;
}

/* ---- many prompts ------------------------------------------------------------------------------------------------------------- */

/* similarities(cosines float64 (rows, landmarks), rows, sharpness, center float32 (landmarks,), scale): in place */
static PyObject *similarities(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    (void)module;
    if (!has_arguments(given, 5))
        return NULL;
    Py_ssize_t rows = PyLong_AsSsize_t(arguments[1]);
    double sharpness = PyFloat_AsDouble(arguments[2]);
    if (PyErr_Occurred())
        return NULL;
    Py_buffer center, scale, cosines;
    if (get(arguments[3], &center, 'f', -1, 0) < 0)
        return NULL;
    Py_ssize_t count = center.len / 4;
    int failed = get(arguments[4], &scale, 'f', count, 0) < 0;
    if (!failed) {
        failed = rows < 0 || rows > PY_SSIZE_T_MAX / 8 / (count + 1);
        if (failed)
            PyErr_SetString(PyExc_ValueError, "a number of prompts is out of range");
        else
            failed = get(arguments[0], &cosines, 'd', rows * count, PyBUF_WRITABLE) < 0;
        if (!failed) {
            batches->similarities(cosines.buf, (long)rows, (long)count, sharpness, center.buf, scale.buf);
            PyBuffer_Release(&cosines);
        }
        PyBuffer_Release(&scale);
    }
    PyBuffer_Release(&center);
    return failed ? NULL : none();
}

/* in_order(rows float64 (rows, terms), rows, terms, matrix float32 (terms, columns), out float64 (rows, columns)), where
 * the number of columns is a multiple of four */
static PyObject *in_order(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    (void)module;
    if (!has_arguments(given, 5))
        return NULL;
    Py_ssize_t rows = PyLong_AsSsize_t(arguments[1]), terms = PyLong_AsSsize_t(arguments[2]);
    if (rows < 0 || terms < 1 || rows > PY_SSIZE_T_MAX / 8 / terms) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "a number of prompts or terms is out of range");
        return NULL;
    }
    Py_buffer left, matrix, out;
    if (get(arguments[0], &left, 'd', rows * terms, 0) < 0)
        return NULL;
    int failed = get(arguments[3], &matrix, 'f', -1, 0) < 0;
    if (!failed) {
        Py_ssize_t columns = matrix.len / 4 / terms;
        failed = columns * terms * 4 != matrix.len || columns % 4 || rows > PY_SSIZE_T_MAX / 8 / (columns + 1);
        if (failed)
            PyErr_SetString(PyExc_ValueError, "the matrix does not fit");
        else
            failed = get(arguments[4], &out, 'd', rows * columns, PyBUF_WRITABLE) < 0;
        if (!failed) {
            for (Py_ssize_t i = 0; i < rows; i++)
                batches->in_order((const double *)left.buf + i * terms, matrix.buf, (long)terms, (long)columns,
                                  (double *)out.buf + i * columns);
            PyBuffer_Release(&out);
        }
        PyBuffer_Release(&matrix);
    }
    PyBuffer_Release(&left);
    return failed ? NULL : none();
}

/* ---- module ------------------------------------------------------------------------------------------------------------------- */

/* use(name): the instructions to use, "baseline" or "avx2", so that tests can compare them. */
static PyObject *use(PyObject *module, PyObject *name)
{
    (void)module;
    const char *wanted = PyUnicode_AsUTF8AndSize(name, NULL);
    if (wanted == NULL)
        return NULL;
    if (!strcmp(wanted, "baseline")) {
        arithmetic = &arithmetic_baseline;
        batches = &batches_baseline;
        return none();
    }
#if HAS_AVX2
    if (!strcmp(wanted, "avx2") && machine_has_avx2()) {
        arithmetic = &arithmetic_avx2;
        batches = &batches_avx2;
        return none();
    }
#endif
    PyErr_SetString(PyExc_ValueError, "this machine does not have these instructions");
    return NULL;
}

static PyObject *instructions(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyUnicode_FromString(arithmetic == &arithmetic_baseline ? "baseline" : "avx2");
}

#define NO_METHODS(kind)                                                   \
    static PyType_Slot kind##_slots[] = {{Py_tp_new, (void *)kind##_new}, \
                                         {Py_tp_dealloc, (void *)stage_dealloc}, \
                                         {0, NULL}};
#define METHOD(kind, name) {#name, (PyCFunction)(void (*)(void))kind##_##name, METH_FASTCALL, NULL}
#define METHODS(kind, ...)                                                                         \
    static PyMethodDef kind##_methods[] = {__VA_ARGS__, {NULL, NULL, 0, NULL}};                    \
    static PyType_Slot kind##_slots[] = {{Py_tp_new, (void *)kind##_new},                          \
                                         {Py_tp_dealloc, (void *)stage_dealloc},                   \
                                         {Py_tp_methods, kind##_methods},                          \
                                         {0, NULL}};
METHODS(pieces, METHOD(pieces, ids))
METHODS(table, METHOD(table, embed))
NO_METHODS(surface)
NO_METHODS(reading)
METHODS(projection, METHOD(projection, project))
METHODS(cards, METHOD(cards, forecast), METHOD(cards, qualities))
METHODS(prompts, METHOD(prompts, read), METHOD(prompts, read_all))
METHODS(plans, METHOD(plans, expected))
METHODS(words, METHOD(words, entries))

static PyType_Spec specs[] = {
    {"router.perceive.kernel._kernel.Pieces", sizeof(Stage), 0, 0, pieces_slots},
    {"router.perceive.kernel._kernel.Table", sizeof(Stage), 0, 0, table_slots},
    {"router.perceive.kernel._kernel.Surface", sizeof(Stage), 0, 0, surface_slots},
    {"router.perceive.kernel._kernel.Reading", sizeof(Stage), 0, 0, reading_slots},
    {"router.perceive.kernel._kernel.Projection", sizeof(Stage), 0, 0, projection_slots},
    {"router.perceive.kernel._kernel.Cards", sizeof(Stage), 0, 0, cards_slots},
    {"router.perceive.kernel._kernel.Prompts", sizeof(Stage), 0, 0, prompts_slots},
    {"router.perceive.kernel._kernel.Plans", sizeof(Stage), 0, 0, plans_slots},
    {"router.perceive.kernel._kernel.Words", sizeof(Stage), 0, 0, words_slots},
};

static int execute(PyObject *module)
{
#if HAS_AVX2
    if (machine_has_avx2()) {
        arithmetic = &arithmetic_avx2;
        batches = &batches_avx2;
    }
#endif
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, &specs[i], NULL);
        if (type == NULL)
            return -1;
        /* Types stay referred to, since arguments are compared with them. */
        types[i] = (PyTypeObject *)type;
        if (PyModule_AddType(module, types[i]) < 0)
            return -1;
    }
    return PyModule_AddStringConstant(module, "SOURCES", PULVINAR_SOURCES);
}

#define FUNCTION(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, NULL}
static PyMethodDef functions[] = {{"use", use, METH_O, NULL},
                                  {"instructions", instructions, METH_NOARGS, NULL},
                                  FUNCTION(similarities),
                                  FUNCTION(in_order),
                                  FUNCTION(cells),
                                  FUNCTION(loss_and_cost),
                                  FUNCTION(totals),
                                  FUNCTION(first_of),
                                  FUNCTION(choose),
                                  FUNCTION(cascade),
                                  {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, (void *)execute}, {0, NULL}};
static PyModuleDef definition = {
    {1, NULL}, NULL, 0, NULL, "_kernel", NULL, 0, functions, module_slots, NULL, NULL, NULL};

PY_EXPORT PyObject *PyInit__kernel(void) { return PyModuleDef_Init(&definition); }
