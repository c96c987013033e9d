/* Many prompts in one call: their feature vectors and the lines of their scores, without the interpreter's lock. The
 * arithmetic is that of one prompt.
 */

/* Code points of texts that are read between two times of holding the lock. */
enum { TEXTS_AT_ONCE = 512, POINTS_AT_ONCE = 1 << 18, MOST_READ = 2 * READ_HALF };

typedef struct { Py_ssize_t row; long start, length, turns; int read; } Waiting;

/* Memory of one thread, with room for the longest text. */
typedef struct {
    Waiting waiting[TEXTS_AT_ONCE];
    uint32_t points[POINTS_AT_ONCE];
    int64_t ids[MOST_READ];
    uint8_t bytes[4 * MOST_READ + 4];
    uint32_t ends[GRAMS_FIRST + 1 + GRAMS_LAST], units[2 * (GRAMS_FIRST + 1 + GRAMS_LAST) + 2];
    uint32_t rows[2 * (2 * (GRAMS_FIRST + 1 + GRAMS_LAST) + 2)];
} Scratch;

/* The feature vector of a prompt of one text, as read_prompt() computes it; 0 where it takes Python to read a word or
 * the lower case of a character.
 */
static int read_alone(const Prompts *prompts, const uint32_t *text, long length, long turns, Scratch *scratch, float *out)
{
    const Vocabulary *vocabulary = prompts->vocabulary;
    const Reading *reading = prompts->reading;
    long count = 0, of_units = length;
    Words words = {.next = 0};
    for (const Word *each; (each = word_of(vocabulary, text, length, &words)) != NULL;) {
        /* A word has at most as many pieces as characters. */
        long found = pieces_of_word(vocabulary, text, each, 0, scratch->ids + count);
        if (found < 0)
            return 0;
        count += found;
    }
    for (long i = 0; i < count; i++)
        if (scratch->ids[i] >= prompts->table->tokens)
            return 0;
    if (reading != NULL) {
        const uint32_t *read = text;
        if (length > GRAMS_FIRST + GRAMS_LAST) {
            memcpy(scratch->ends, text, GRAMS_FIRST * sizeof *text);
            scratch->ends[GRAMS_FIRST] = ' ';
            memcpy(scratch->ends + GRAMS_FIRST + 1, text + length - GRAMS_LAST, GRAMS_LAST * sizeof *text);
            read = scratch->ends;
            of_units = GRAMS_FIRST + 1 + GRAMS_LAST;
        }
        if ((of_units = units_of(read, of_units, vocabulary->characters, scratch->units)) < 0)
            return 0;
    }
    arithmetic->embed(prompts->table, scratch->ids, NULL, count, out);
    surface_of(prompts->surface, text, length, turns, scratch->bytes, scratch->bytes + 2 * length + 1,
               out + prompts->table->embedded);
    if (reading != NULL) {
        float of_grams[MOST_COLUMNS];
        double context[4] = {log1p((double)length), log1p(1.0), 0.0, log1p(1.0)};
        long found = rows_of_grams(scratch->units, of_units, GRAM_BITS, scratch->rows);
        arithmetic->sum_of_grams(reading->grams, reading->readings, scratch->rows, found, of_grams);
        arithmetic->read(reading, out, context, of_grams, out + prompts->dense);
    }
    return 1;
}

/* Take texts from `next` on, as many as there is room for; returns the text after them, -1 with an exception. */
static Py_ssize_t take_texts(PyObject *texts, PyObject *turns, Py_ssize_t next, Scratch *scratch, long *taken, PyObject *left)
{
    long used = 0;
    for (*taken = 0; next < PyTuple_Size(texts) && *taken < TEXTS_AT_ONCE; next++) {
        PyObject *text = PyTuple_GetItem(texts, next);
        Py_ssize_t length = is_a(text, UNICODE) ? PyUnicode_GetLength(text) : -1;
        if (length < 0 || length > MOST_READ) {
            PyObject *row = PyLong_FromSsize_t(next);
            int added = row != NULL && PyList_Append(left, row) == 0;
            if (row != NULL)
                Py_DecRef(row);
            if (!added)
                return -1;
            continue;
        }
        if (used + length + 1 > POINTS_AT_ONCE)
            break;
        Py_ssize_t of_human = PyLong_AsSsize_t(PyTuple_GetItem(turns, next));
        if (of_human == -1 && PyErr_Occurred())
            return -1;
        if (PyUnicode_AsUCS4(text, scratch->points + used, length + 1, 1) == NULL)
            return -1;
        scratch->waiting[(*taken)++] = (Waiting){next, used, (long)length, (long)of_human, 0};
        used += (long)length + 1;
    }
    return next;
}

/* read_all(texts: tuple of text or None, human turns: tuple, out float32 (texts, width)) -> list of the rows that are
 * left, since only Python can read them: those without a text, those that are long, and those with words of which
 * read() returns a list. Nothing but one text stands in each prompt. Other threads run meanwhile.
 */
static PyObject *prompts_read_all(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    const Prompts *prompts = &((Stage *)object)->as.prompts;
    if (!has_arguments(given, 3))
        return NULL;
    if (!is_a(arguments[0], TUPLE) || !is_a(arguments[1], TUPLE) ||
        PyTuple_Size(arguments[0]) != PyTuple_Size(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "expected a tuple of texts, and as many numbers of turns");
        return NULL;
    }
    Py_buffer out;
    Py_ssize_t count = PyTuple_Size(arguments[0]), next = 0;
    if (get(arguments[2], &out, 'f', count * prompts->width, PyBUF_WRITABLE) < 0)
        return NULL;
    Scratch *scratch = PyMem_Malloc(sizeof *scratch);
    PyObject *left = scratch == NULL ? PyErr_NoMemory() : PyList_New(0);
    while (left != NULL && next < count) {
        long taken;
        next = take_texts(arguments[0], arguments[1], next, scratch, &taken, left);
        if (next >= 0) {
            PyThreadState *state = PyEval_SaveThread();
            for (long i = 0; i < taken; i++) {
                Waiting *one = &scratch->waiting[i];
                one->read = read_alone(prompts, scratch->points + one->start, one->length, one->turns, scratch,
                                       (float *)out.buf + one->row * prompts->width);
            }
            PyEval_RestoreThread(state);
        }
        for (long i = 0; next >= 0 && i < taken; i++) {
            PyObject *row = scratch->waiting[i].read ? NULL : PyLong_FromSsize_t(scratch->waiting[i].row);
            if (!scratch->waiting[i].read && (row == NULL || PyList_Append(left, row) < 0))
                next = -1;
            if (row != NULL)
                Py_DecRef(row);
        }
        if (next < 0) {
            Py_DecRef(left);
            left = NULL;
        }
    }
    PyMem_Free(scratch);
    PyBuffer_Release(&out);
    return left;
}

/* ---- lines of scores ------------------------------------------------------------------------------------------------ */

enum { CELL = 9 };

/* The shortest digits of a number between 0.0001 and 1 with at most six decimals, after a comma; 0 for another one. */
static inline long cell_of(double score, const uint8_t (*digits)[3], uint8_t *out)
{
    if (!(score > 0.00009 && score < 1.0))
        return 0;
    long millionths = (long)(score * 1e6 + 0.5);
    if ((double)millionths / 1e6 != score || millionths < 100 || millionths > 999999)
        return 0;
    memcpy(out, ",0.", 3);
    memcpy(out + 3, digits[millionths / 1000], 3);
    memcpy(out + 6, digits[millionths % 1000], 3);
    long length = CELL;
    while (out[length - 1] == '0')
        length--;
    return length;
}

/* cells(scores float64 (rows, columns), rows, out uint8 (rows, columns, CELL), ends int64 (rows,)): the cells of all
 * rows one after the other, and where each row ends in `out`; -1 for a row with a number that has no such cell. Other
 * threads run meanwhile. router/learn/evaluation/score.py is the specification.
 */
static PyObject *cells(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    (void)module;
    if (!has_arguments(given, 4))
        return NULL;
    Py_ssize_t rows = PyLong_AsSsize_t(arguments[1]);
    if (rows < 1) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "a number of rows is out of range");
        return NULL;
    }
    Py_buffer scores, out, ends;
    if (get(arguments[0], &scores, 'd', -1, 0) < 0)
        return NULL;
    Py_ssize_t columns = scores.len / 8 / rows;
    int failed = columns * rows * 8 != scores.len;
    if (failed)
        PyErr_SetString(PyExc_ValueError, "the scores are no rows of one length");
    else if (!(failed = get(arguments[2], &out, 'B', rows * columns * CELL, PyBUF_WRITABLE) < 0)) {
        if (!(failed = get(arguments[3], &ends, 'q', rows, PyBUF_WRITABLE) < 0)) {
            PyThreadState *state = PyEval_SaveThread();
            uint8_t digits[1000][3], *at = out.buf;
            for (int i = 0; i < 1000; i++)
                digits[i][0] = (uint8_t)('0' + i / 100), digits[i][1] = (uint8_t)('0' + i / 10 % 10),
                digits[i][2] = (uint8_t)('0' + i % 10);
            const double *score = scores.buf;
            for (Py_ssize_t row = 0; row < rows; row++, score += columns) {
                uint8_t *start = at;
                long length = 1;
                for (Py_ssize_t i = 0; i < columns && length; i++)
                    at += length = cell_of(score[i], digits, at);
                if (!length)
                    at = start;
                ((int64_t *)ends.buf)[row] = length ? at - (uint8_t *)out.buf : -1;
            }
            PyEval_RestoreThread(state);
            PyBuffer_Release(&ends);
        }
        PyBuffer_Release(&out);
    }
    PyBuffer_Release(&scores);
    return failed ? NULL : none();
}
