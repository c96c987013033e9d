/* Reading of a prompt in one call: the texts of a conversation, to its whole feature vector. */

/* Prompts(pieces, table, surface, reading or None) */
static PyObject *prompts_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *given[4];
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "OOOO", &given[0], &given[1], &given[2], &given[3]))
        return NULL;
    int has_reading = given[3] != Py_None;
    for (int i = 0; i < 3 + has_reading; i++)
        if (given[i]->ob_type != types[PIECES + i])
            return refuse(NULL, "expected word pieces, a table, the surface and a reading, each as it was bound");
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    for (int i = 0; i < 3 + has_reading; i++) {
        Py_IncRef(given[i]);
        self->others[i] = given[i];
    }
    Prompts *prompts = &self->as.prompts;
    /* Enough for the longest text of which all is read; what is not used is no memory of the machine. */
    if ((self->freed[0] = prompts->kept = PyMem_Malloc(KEPT)) == NULL) {
        PyErr_NoMemory();
        return refuse(self, "");
    }
    prompts->vocabulary = &((Stage *)given[0])->as.vocabulary;
    prompts->table = &((Stage *)given[1])->as.table;
    prompts->surface = &((Stage *)given[2])->as.surface;
    prompts->reading = has_reading ? &((Stage *)given[3])->as.reading : NULL;
    prompts->dense = prompts->table->embedded + (long)surface_width(prompts->surface);
    prompts->width = prompts->dense + (has_reading ? prompts->reading->readings : 0);
    if (has_reading && prompts->reading->dense != prompts->dense + 4)
        return refuse(self, "the reading is of feature vectors of another width");
    return (PyObject *)self;
}

/* Write the feature vector to `out`; returns what prompts_read() does, NULL with an exception. */
static PyObject *read_prompt(const Prompts *prompts, PyObject *const *arguments, const double *numbers, long turns,
                             float *out, Room *room)
{
    PyObject *texts = arguments[0], *weights = arguments[1], *memo = arguments[7], *missing = NULL;
    Py_ssize_t count = PyTuple_Size(texts);
    long embedded_width = prompts->table->embedded;
    float of_one[MOST_EMBEDDED], of_grams[MOST_COLUMNS];
    Points points = {NULL, 0, 0, 0}, clipped;
    Ids ids;
    long pieces = 0, plain = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *text = PyTuple_GetItem(texts, i);
        double weight = count > 1 ? PyFloat_AsDouble(PyTuple_GetItem(weights, i)) : 1.0;
        if ((weight == -1.0 && PyErr_Occurred()) || !points_of(text, READ_HALF, READ_HALF, room, &points) ||
            !pieces_of_text(prompts->vocabulary, text, &points, memo, room, &ids, &missing)) {
            if (missing != NULL)
                Py_DecRef(missing);
            return NULL;
        }
        if (missing != NULL)
            return missing;
        float *to = count > 1 ? of_one : out;
        pieces = ids.count;
        if (!embedded(prompts->table, &ids, to, room, &plain))
            return NULL;
        for (long j = 0; count > 1 && j < embedded_width; j++) {
            float product = of_one[j] * (float)weight;
            out[j] = i ? out[j] + product : product;
        }
        if (i < count - 1)
            leave(room);
    }
    if (count > 1)
        to_length_one(out, embedded_width);
    PyObject *newest = PyTuple_GetItem(texts, count - 1);
    clipped = points;
    if (PyUnicode_GetLength(newest) > 2 * READ_HALF) {
        clipped.length = 2 * READ_HALF;
        if ((clipped.points = room_for(room, 2 * READ_HALF * sizeof *clipped.points)) == NULL ||
            !copied(newest, 0, clipped.length, clipped.points))
            return NULL;
    }
    uint8_t *bytes = room_for(room, 4 * (size_t)clipped.length + 4);
    if (bytes == NULL)
        return NULL;
    surface_of(prompts->surface, clipped.points, clipped.length, turns, bytes, bytes + 2 * clipped.length + 1,
               out + embedded_width);
    if (prompts->reading != NULL) {
        if (!grams_of(prompts->reading, prompts->vocabulary->characters, arguments[2],
                      arguments[2] == newest ? &points : NULL, room, of_grams))
            return NULL;
        double context[4] = {log1p(numbers[0]), log1p(numbers[1]), numbers[2], log1p((double)count)};
        arithmetic->read(prompts->reading, out, context, of_grams, out + prompts->dense);
    }
    return PyLong_FromSsize_t(plain == pieces ? pieces : -1 - plain);
}

/* read(texts, weights, texts joined by line breaks, human turns, characters, turns, has tools, memo, out float32
 *      (width,)) -> the number of pieces of the newest text; where some are entries of the lexicon, minus one and minus the number of
 *      the others; or the list of the words that only the tokenizer or the lexicon can read and that are not in `memo`
 */
static PyObject *prompts_read(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    Prompts *prompts = &((Stage *)object)->as.prompts;
    double numbers[3];
    Py_buffer out;
    if (!has_arguments(given, 9))
        return NULL;
    if (!is_a(arguments[0], TUPLE) || !is_a(arguments[1], TUPLE) || !is_a(arguments[2], UNICODE) ||
        !is_a(arguments[7], DICTIONARY)) {
        PyErr_SetString(PyExc_TypeError, "expected texts, weights, a text and a memo");
        return NULL;
    }
    Py_ssize_t count = PyTuple_Size(arguments[0]), turns = PyLong_AsSsize_t(arguments[3]);
    if (turns == -1 && PyErr_Occurred())
        return NULL;
    if (count < 1 || count > MOST_TEXTS || PyTuple_Size(arguments[1]) != count) {
        PyErr_SetString(PyExc_ValueError, "expected some texts, and as many weights");
        return NULL;
    }
    for (int i = 0; i < 3; i++) {
        numbers[i] = PyFloat_AsDouble(arguments[4 + i]);
        if (numbers[i] == -1.0 && PyErr_Occurred())
            return NULL;
    }
    if (get(arguments[8], &out, 'f', prompts->width, PyBUF_WRITABLE) < 0)
        return NULL;
    /* A text may be of a class whose methods call this one again. */
    char *kept = prompts->kept;
    prompts->kept = NULL;
    Room room = {kept, kept == NULL ? 0 : KEPT, 0, 0, {NULL}};
    PyObject *result = read_prompt(prompts, arguments, numbers, (long)turns, out.buf, &room);
    leave(&room);
    /* Another call, which found no memory here, may end after the one that has it. */
    if (kept != NULL)
        prompts->kept = kept;
    PyBuffer_Release(&out);
    return result;
}
