/* The compiled kernel of router.perceive: reading of prompts and forecasts, to the same bits as the numpy code.
 *
 * Each type binds the arrays of one stage once; its method then has a few pointers to follow. Everything that a caller
 * passes is checked here, so that the arithmetic need not. Built for the limited API of Python 3.11 (abi3).
 */
#include "python.h"
#include "structs.h"
#include "text.h"

#ifndef PULVINAR_SOURCES
#define PULVINAR_SOURCES "unknown"
#endif
/* Raised with every change of what router/perceive/kernel/__init__.py passes or gets. */
#define INTERFACE 3

#define ISA(name) name##_baseline
#include "arithmetic.h"
#undef ISA

#if defined(__x86_64__) || defined(_M_X64)
#define HAS_AVX2 1
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define ISA(name) name##_avx2
#include "arithmetic.h"
#undef ISA
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
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27)) || !(c & (1u << 28)))
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

/* ---- binding ---------------------------------------------------------------------------------------------------- */

enum { MOST_BUFFERS = 16 };

typedef struct {
    PyObject_HEAD
    int bound;
    Py_buffer buffers[MOST_BUFFERS];
    PyObject *other;
    void *freed[4];
    union {
        Table table;
        Vocabulary vocabulary;
        Surface surface;
        Reading reading;
        Projection projection;
        Cards cards;
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
    if (self->other != NULL)
        Py_DecRef(self->other);
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

static Py_ssize_t size_of(char kind) { return kind == 'd' || kind == 'q' ? 8 : kind == 'f' ? 4 : 1; }

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

/* The code points of a text; `kept` has room for 4,096 and is used where they fit. NULL with an exception. */
enum { KEPT = 4096 };
static uint32_t *points_of(PyObject *text, uint32_t *kept, Py_ssize_t *length)
{
    if (!is_a(text, UNICODE)) {
        PyErr_SetString(PyExc_TypeError, "expected a text");
        return NULL;
    }
    *length = PyUnicode_GetLength(text);
    uint32_t *points = *length < KEPT ? kept : PyMem_Malloc(((size_t)*length + 1) * sizeof *points);
    if (points == NULL)
        return (uint32_t *)PyErr_NoMemory();
    if (PyUnicode_AsUCS4(text, points, *length + 1, 1) == NULL) {
        if (points != kept)
            PyMem_Free(points);
        return NULL;
    }
    return points;
}

#include "choice.h"
#include "plans.h"

/* ---- word pieces -------------------------------------------------------------------------------------------------- */

/* Pieces(pieces: list[str] by id, prefix of continuations, id of the unknown word, most characters of a word) */
static PyObject *pieces_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *pieces, *of_prefix;
    Py_ssize_t prefix_length, most, unknown;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "OOnn", &pieces, &of_prefix, &unknown, &most))
        return NULL;
    const char *prefix = PyUnicode_AsUTF8AndSize(of_prefix, &prefix_length);
    if (prefix == NULL)
        return NULL;
    if (!is_a(pieces, LIST))
        return refuse(NULL, "the pieces are no list");
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    Vocabulary *vocabulary = &self->as.vocabulary;
    Py_ssize_t count = PyList_Size(pieces), size, bytes = 0;
    if (most < 1 || most >= MOST_WORD || unknown < 0 || count > 1 << 24)
        return refuse(self, "the longest word or the number of pieces is out of range");
    for (Py_ssize_t i = 0; i < count; i++) {
        if (PyUnicode_AsUTF8AndSize(PyList_GetItem(pieces, i), &size) == NULL)
            return refuse(self, "");
        bytes += size;
    }
    uint32_t slots = 1024;
    while (slots < 2 * count)
        slots *= 2;
    vocabulary->mask = slots - 1;
    vocabulary->unknown = unknown;
    vocabulary->most_characters = most;
    for (int i = 0; i < 2; i++)
        self->freed[i] = vocabulary->slots[i] = PyMem_Calloc(slots, sizeof(Slot));
    self->freed[2] = vocabulary->pool = PyMem_Malloc((size_t)bytes + 1);
    if (!vocabulary->slots[0] || !vocabulary->slots[1] || !vocabulary->pool) {
        PyErr_NoMemory();
        return refuse(self, "");
    }
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
        add_piece(vocabulary, piece, (uint32_t)size, offset, continues, (int32_t)i);
        offset += (uint32_t)size;
    }
    return (PyObject *)self;
}

/* ids(text, memo) -> bytes of int64, or the list of the words that are neither plain nor in `memo` (bytes by word) */
static PyObject *pieces_ids(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    const Vocabulary *vocabulary = &((Stage *)object)->as.vocabulary;
    uint32_t kept[KEPT];
    Py_ssize_t length, room, count = 0;
    if (!has_arguments(given, 2))
        return NULL;
    if (!is_a(arguments[1], DICTIONARY)) {
        PyErr_SetString(PyExc_TypeError, "the memo is no dictionary");
        return NULL;
    }
    uint32_t *points = points_of(arguments[0], kept, &length);
    if (points == NULL)
        return NULL;
    PyObject *missing = NULL, *result = NULL;
    room = length + 1;
    int64_t *ids = PyMem_Malloc((size_t)room * sizeof *ids);
    if (ids == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    for (Py_ssize_t start = 0, stop; start < length; start = stop) {
        stop = start + 1;
        if (is_space(points[start]))
            continue;
        while (stop < length && !is_space(points[stop]))
            stop++;
        if (is_plain(points + start, stop - start)) {
            /* A word has at most as many pieces as characters, and those of others make room for theirs. */
            if (missing == NULL)
                count += pieces_of_plain(vocabulary, points + start, stop - start, ids + count);
            continue;
        }
        PyObject *word = PyUnicode_Substring(arguments[0], start, stop);
        if (word == NULL)
            goto end;
        PyObject *known = PyDict_GetItemWithError(arguments[1], word);
        if (known == NULL) {
            int failed = PyErr_Occurred() != NULL;
            if (!failed && missing == NULL)
                failed = (missing = PyList_New(0)) == NULL;
            failed = failed || PyList_Append(missing, word) < 0;
            Py_DecRef(word);
            if (failed)
                goto end;
            continue;
        }
        char *bytes;
        Py_ssize_t size;
        int failed = PyBytes_AsStringAndSize(known, &bytes, &size) < 0;
        if (!failed && missing == NULL) {
            Py_ssize_t more = size / (Py_ssize_t)sizeof *ids;
            if (more > stop - start) {
                room += more;
                int64_t *larger = PyMem_Realloc(ids, (size_t)room * sizeof *ids);
                if (larger == NULL) {
                    PyErr_NoMemory();
                    failed = 1;
                } else {
                    ids = larger;
                }
            }
            if (!failed) {
                memcpy(ids + count, bytes, (size_t)more * sizeof *ids);
                count += more;
            }
        }
        Py_DecRef(word);
        if (failed)
            goto end;
    }
    if (missing != NULL) {
        result = missing;
        missing = NULL;
    } else {
        result = PyBytes_FromStringAndSize((const char *)ids, count * (Py_ssize_t)sizeof *ids);
    }
end:
    if (missing != NULL)
        Py_DecRef(missing);
    PyMem_Free(ids);
    if (points != kept)
        PyMem_Free(points);
    return result;
}

/* ---- embedding ------------------------------------------------------------------------------------------------------ */

/* Table(rows int8 (tokens, embedded), scales float32 (tokens,)) */
static PyObject *table_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *rows, *scales;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "OO", &rows, &scales))
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
    return (PyObject *)self;
}

/* embed(ids: bytes of int64, out float32 (embedded,)) -> whether all of them are in the table */
static PyObject *table_embed(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    const Table *table = &((Stage *)object)->as.table;
    Py_buffer ids, out;
    if (!has_arguments(given, 2) || PyObject_GetBuffer(arguments[0], &ids, PyBUF_C_CONTIGUOUS) < 0)
        return NULL;
    if (get(arguments[1], &out, 'f', table->embedded, PyBUF_WRITABLE) < 0) {
        PyBuffer_Release(&ids);
        return NULL;
    }
    const int64_t *numbers = ids.buf;
    Py_ssize_t count = ids.len / (Py_ssize_t)sizeof *numbers;
    int known = (uintptr_t)numbers % sizeof *numbers == 0;
    for (Py_ssize_t i = 0; known && i < count; i++)
        known = numbers[i] >= 0 && numbers[i] < table->tokens;
    if (known)
        arithmetic->embed(table, numbers, (long)count, out.buf);
    PyBuffer_Release(&ids);
    PyBuffer_Release(&out);
    return PyBool_FromLong(known);
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

/* read(text, turns, out float32 (width,)) */
static PyObject *surface_read(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    const Surface *surface = &((Stage *)object)->as.surface;
    uint32_t kept[KEPT];
    uint8_t kept_bytes[4 * KEPT];
    Py_ssize_t length;
    Py_buffer out;
    if (!has_arguments(given, 3))
        return NULL;
    Py_ssize_t turns = PyLong_AsSsize_t(arguments[1]);
    if ((turns == -1 && PyErr_Occurred()) || get(arguments[2], &out, 'f', surface_width(surface), PyBUF_WRITABLE) < 0)
        return NULL;
    uint32_t *points = points_of(arguments[0], kept, &length);
    uint8_t *bytes = points == NULL ? NULL : length < KEPT ? kept_bytes : PyMem_Malloc(4 * (size_t)length + 4);
    if (points != NULL && bytes == NULL)
        PyErr_NoMemory();
    if (bytes != NULL) {
        surface_of(surface, points, (long)length, (long)turns, bytes, bytes + 2 * length + 1, out.buf);
        if (bytes != kept_bytes)
            PyMem_Free(bytes);
    }
    if (points != NULL && points != kept)
        PyMem_Free(points);
    PyBuffer_Release(&out);
    if (bytes == NULL)
        return NULL;
    return none();
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
        (reading->grams = bind(self, grams, 'f', ((Py_ssize_t)1 << 15) * reading->readings)) == NULL ||
        (reading->weights = bind(self, weights, 'd', -1)) == NULL)
        return refuse(self, "");
    reading->columns = regressors ? (long)(bound_count(self) / regressors) : 0;
    if (bound_count(self) != (Py_ssize_t)regressors * reading->columns || regressors > MOST_REGRESSORS ||
        reading->dense < 4 + reading->landmarks.embedded || reading->columns > MOST_COLUMNS ||
        reading->columns < reading->readings || reading->columns % 4 || reading->readings < 2 || reading->points < 1)
        return refuse(self, "the arrays of the reader do not fit together");
    return (PyObject *)self;
}

/* read(text, vector float32 (dense - 4,), characters, turns, has tools, human turns, out float32 (readings,)) */
static PyObject *reading_read(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    const Reading *reading = &((Stage *)object)->as.reading;
    if (!has_arguments(given, 7))
        return NULL;
    double context[4];
    for (int i = 0; i < 4; i++) {
        double number = PyFloat_AsDouble(arguments[2 + i]);
        if (number == -1.0 && PyErr_Occurred())
            return NULL;
        context[i] = i == 2 ? number : log1p(number);
    }
    uint32_t kept[KEPT], kept_units[2 * KEPT + 2];
    float of_grams[MOST_COLUMNS];
    Py_ssize_t length;
    uint32_t *points = points_of(arguments[0], kept, &length);
    if (points == NULL)
        return NULL;
    int lower = 1;
    for (Py_ssize_t i = 0; lower && i < length; i++)
        lower = points[i] < 128;
    if (!lower) {
        PyObject *text = PyObject_CallMethod(arguments[0], "lower", NULL);
        if (points != kept)
            PyMem_Free(points);
        points = text == NULL ? NULL : points_of(text, kept, &length);
        if (text != NULL)
            Py_DecRef(text);
        if (points == NULL)
            return NULL;
    }
    uint32_t *units = length < KEPT ? kept_units : PyMem_Malloc((2 * (size_t)length + 2) * sizeof *units);
    if (units != NULL) {
        long count = units_of(points, (long)length, lower, units);
        sum_of_grams(reading->grams, reading->readings, 15, units, count, of_grams);
        if (units != kept_units)
            PyMem_Free(units);
    }
    if (points != kept)
        PyMem_Free(points);
    if (units == NULL)
        return PyErr_NoMemory();
    Py_buffer vector, out;
    if (get(arguments[1], &vector, 'f', reading->dense - 4, 0) < 0)
        return NULL;
    if (get(arguments[6], &out, 'f', reading->readings, PyBUF_WRITABLE) < 0) {
        PyBuffer_Release(&vector);
        return NULL;
    }
    arithmetic->read(reading, vector.buf, context, of_grams, out.buf);
    PyBuffer_Release(&vector);
    PyBuffer_Release(&out);
    return none();
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
    if (fits)
        for (Py_ssize_t i = 0; i < prompts; i++)
            arithmetic->project(of, (const float *)vectors.buf + i * width, (double *)out.buf + i * size);
    PyBuffer_Release(&vectors);
    PyBuffer_Release(&out);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the feature vectors are too short");
        return NULL;
    }
    return none();
}

/* ---- forecasts ---------------------------------------------------------------------------------------------------------------- */

static PyTypeObject *projection_type;

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
    if (projection->ob_type != projection_type)
        return refuse(NULL, "the first argument is no projection");
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    Py_IncRef(projection);
    self->other = projection;
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
    const Projection *projection = &((const Stage *)self->other)->as.projection;
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
                           tiers ? 4 : 4 * CARD_COLUMNS};
        arithmetic->project(projection, vector.buf, prompt);
        arithmetic->forecast(cards, prompt, (const float *)vector.buf + projection->width, &request, out.buf);
        PyBuffer_Release(&out);
    }
    if (tiers)
        PyBuffer_Release(&prices);
    PyBuffer_Release(&vector);
    return failed ? NULL : PyFloat_FromDouble(prompt[NOVELTY]);
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
        return none();
    }
#if HAS_AVX2
    if (!strcmp(wanted, "avx2") && machine_has_avx2()) {
        arithmetic = &arithmetic_avx2;
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

#define METHODS(kind, name)                                                                        \
    static PyMethodDef kind##_methods[] = {                                                        \
        {#name, (PyCFunction)(void (*)(void))kind##_##name, METH_FASTCALL, NULL}, {NULL, NULL, 0, NULL}}; \
    static PyType_Slot kind##_slots[] = {{Py_tp_new, (void *)kind##_new},                          \
                                         {Py_tp_dealloc, (void *)stage_dealloc},                   \
                                         {Py_tp_methods, kind##_methods},                          \
                                         {0, NULL}};
METHODS(pieces, ids)
METHODS(table, embed)
METHODS(surface, read)
METHODS(reading, read)
METHODS(projection, project)
METHODS(cards, forecast)

static PyType_Spec specs[] = {
    {"router.perceive.kernel._kernel.Pieces", sizeof(Stage), 0, 0, pieces_slots},
    {"router.perceive.kernel._kernel.Table", sizeof(Stage), 0, 0, table_slots},
    {"router.perceive.kernel._kernel.Surface", sizeof(Stage), 0, 0, surface_slots},
    {"router.perceive.kernel._kernel.Reading", sizeof(Stage), 0, 0, reading_slots},
    {"router.perceive.kernel._kernel.Projection", sizeof(Stage), 0, 0, projection_slots},
    {"router.perceive.kernel._kernel.Cards", sizeof(Stage), 0, 0, cards_slots},
};

static int execute(PyObject *module)
{
#if HAS_AVX2
    if (machine_has_avx2())
        arithmetic = &arithmetic_avx2;
#endif
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, &specs[i], NULL);
        if (type == NULL)
            return -1;
        if (i == 4)
            projection_type = (PyTypeObject *)type;
        int failed = PyModule_AddType(module, (PyTypeObject *)type);
        /* The type that is compared with stays referred to. */
        if (i != 4)
            Py_DecRef(type);
        if (failed < 0)
            return -1;
    }
    if (PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) < 0)
        return -1;
    return PyModule_AddStringConstant(module, "SOURCES", PULVINAR_SOURCES);
}

#define FUNCTION(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, NULL}
static PyMethodDef functions[] = {{"use", use, METH_O, NULL},
                                  {"instructions", instructions, METH_NOARGS, NULL},
                                  FUNCTION(loss_and_cost),
                                  FUNCTION(totals),
                                  FUNCTION(first_of),
                                  FUNCTION(cascade),
                                  {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, (void *)execute}, {0, NULL}};
static PyModuleDef definition = {
    {1, NULL}, NULL, 0, NULL, "_kernel", NULL, 0, functions, module_slots, NULL, NULL, NULL};

PY_EXPORT PyObject *PyInit__kernel(void) { return PyModuleDef_Init(&definition); }
