/* Reading of a prompt in one call: the texts of a conversation, to its whole feature vector. */

/* As MAX_CHARACTERS of the encoder and _MAX_CHARACTERS and GRAM_BITS of the reader. */
enum { KEPT = 1 << 19, MOST_TEXTS = 32, READ_HALF = 8000, GRAMS_FIRST = 3000, GRAMS_LAST = 1000, GRAM_BITS = 15 };

/* Memory of one call: `kept`, as far as it goes. Memory that is allocated and returned with each call costs more than
 * the arithmetic on it.
 */
typedef struct {
    char *kept;
    size_t size, used;
    int allocated;
    void *others[128];
} Room;

/* Memory of this size until leave(); NULL with an exception. */
static void *room_for(Room *room, size_t size)
{
    size = (size + 31) / 32 * 32;
    if (size <= room->size - room->used) {
        void *at = room->kept + room->used;
        room->used += size;
        return at;
    }
    void *other = room->allocated < 128 ? PyMem_Malloc(size) : NULL;
    if (other == NULL)
        return PyErr_NoMemory();
    return room->others[room->allocated++] = other;
}

/* Free all memory of `room`. */
static void leave(Room *room)
{
    while (room->allocated)
        PyMem_Free(room->others[--room->allocated]);
    room->used = 0;
}

/* A part of a text, or both its ends with a blank between them where it is longer than `most`. */
typedef struct { uint32_t *points; long length, first, left_out; } Points;

/* Copy the code points of a part of `text`; 0 with an exception. */
static int copied(PyObject *text, Py_ssize_t start, Py_ssize_t stop, uint32_t *points)
{
    PyObject *part = PyUnicode_Substring(text, start, stop);
    int done = part != NULL && PyUnicode_AsUCS4(part, points, stop - start, 0) != NULL;
    if (part != NULL)
        Py_DecRef(part);
    return done;
}

/* The code points of `text`, or of its `first` and `last` ones where it is longer; 0 with an exception. */
static int points_of(PyObject *text, Py_ssize_t first, Py_ssize_t last, Room *room, Points *points)
{
    if (!is_a(text, UNICODE)) {
        PyErr_SetString(PyExc_TypeError, "expected a text");
        return 0;
    }
    Py_ssize_t length = PyUnicode_GetLength(text);
    points->first = (long)first;
    points->left_out = length > first + last ? (long)(length - last - first - 1) : 0;
    if (length <= first + last) {
        points->length = (long)length;
        points->points = room_for(room, ((size_t)length + 1) * sizeof(uint32_t));
        return points->points != NULL && PyUnicode_AsUCS4(text, points->points, length + 1, 1) != NULL;
    }
    points->length = (long)(first + 1 + last);
    points->points = room_for(room, (size_t)points->length * sizeof(uint32_t));
    if (points->points == NULL || !copied(text, 0, first, points->points))
        return 0;
    points->points[first] = ' ';
    return copied(text, length - last, length, points->points + first + 1);
}

/* ---- word pieces ------------------------------------------------------------------------------------------------ */

typedef struct { int64_t *ids; long count, room; } Ids;

/* Make room for `more` pieces; 0 with an exception. */
static int has_room(Ids *ids, long more, Room *room)
{
    if (ids->count + more <= ids->room)
        return 1;
    long wanted = 2 * (ids->count + more);
    int64_t *larger = room_for(room, (size_t)wanted * sizeof *larger);
    if (larger == NULL)
        return 0;
    memcpy(larger, ids->ids, (size_t)ids->count * sizeof *larger);
    ids->ids = larger;
    ids->room = wanted;
    return 1;
}

/* The pieces of a text of which `points` are read. Words that only the tokenizer or the lexicon can read are looked up
 * in `memo` (bytes of int64 by word); those that are not there are added to `missing`, which is made for the first. Where
 * `memo` is NULL, the lexicon reads none of them.
 */
static int pieces_of_text(const Vocabulary *vocabulary, PyObject *whole, const Points *points, PyObject *memo,
                          Room *room, Ids *ids, PyObject **missing)
{
    const uint32_t *text = points->points;
    long length = points->length;
    ids->count = 0;
    ids->room = length + 1;
    if ((ids->ids = room_for(room, (size_t)ids->room * sizeof *ids->ids)) == NULL)
        return 0;
    Words words = {.next = 0};
    for (const Word *each; (each = word_of(vocabulary, text, length, &words)) != NULL;) {
        long start = each->start, stop = each->stop;
        /* A word has at most as many pieces as characters. */
        if (!has_room(ids, stop - start, room))
            return 0;
        long found = pieces_of_word(vocabulary, text, each, memo == NULL, ids->ids + ids->count);
        if (found >= 0) {
            ids->count += found;
            continue;
        }
        long before = start > points->first ? points->left_out : 0;
        PyObject *word = PyUnicode_Substring(whole, start + before, stop + before);
        if (word == NULL)
            return 0;
        PyObject *known = memo == NULL ? NULL : PyDict_GetItemWithError(memo, word);
        int done = known != NULL || !PyErr_Occurred();
        if (known != NULL) {
            char *bytes;
            Py_ssize_t size;
            done = PyBytes_AsStringAndSize(known, &bytes, &size) == 0 && has_room(ids, size / 8, room);
            if (done) {
                memcpy(ids->ids + ids->count, bytes, (size_t)size / 8 * 8);
                ids->count += size / 8;
            }
        } else if (done) {
            done = (*missing != NULL || (*missing = PyList_New(0)) != NULL) && PyList_Append(*missing, word) == 0;
        }
        Py_DecRef(word);
        if (!done)
            return 0;
    }
    return 1;
}

/* ---- embedding -------------------------------------------------------------------------------------------------- */

/* `ids` with entries of the lexicon as their tokens, sorted, after the other pieces, and the weights of all. 0 with an
 * exception. */
static int expanded(const Table *table, Ids *ids, float **weights, Room *room)
{
    long words = 0, rest = 0;
    size_t tokens = (size_t)table->tokens;
    double *sums = room_for(room, tokens * sizeof *sums);
    uint8_t *seen = room_for(room, tokens + 8);
    if (sums == NULL || seen == NULL)
        return 0;
    /* The sums are set to zero where they are used: most are not. */
    memset(seen, 0, tokens + 8);
    for (long i = 0; i < ids->count; i++) {
        if (ids->ids[i] < table->tokens) {
            words++;
            continue;
        }
        int64_t entry = ids->ids[i] - table->tokens;
        for (long j = 0; entry < table->entries && j < table->of_entry; j++) {
            uint16_t token = table->entry_tokens[entry * table->of_entry + j];
            if (!seen[token])
                sums[token] = 0.0;
            sums[token] += (double)((float)table->entry_weights[entry * table->of_entry + j] * (1.0f / 255.0f));
            rest += !seen[token];
            seen[token] = 1;
        }
    }
    /* As the numbers are added up in numpy: first of all entries, then the one token of all hashes, then the other. */
    for (int other = 0; other < 2; other++)
        for (long i = 0; i < ids->count; i++) {
            int64_t hash = ids->ids[i] - table->tokens - table->entries;
            if (hash < 0)
                continue;
            int64_t token = table->first_hashed + (other ? hash * 2654435761 / table->hashes : hash) % table->hashed;
            if (!seen[token])
                sums[token] = 0.0;
            sums[token] += other ? -0.5 : 0.5;
            rest += !seen[token];
            seen[token] = 1;
        }
    int64_t *all = room_for(room, (size_t)(words + rest) * sizeof *all);
    if (all == NULL || (*weights = room_for(room, (size_t)(words + rest) * sizeof **weights)) == NULL)
        return 0;
    long at = 0;
    for (long i = 0; i < ids->count; i++)
        if (ids->ids[i] < table->tokens)
            all[at++] = ids->ids[i];
    for (size_t first = 0; first < tokens; first += 8) {
        uint64_t eight;
        memcpy(&eight, seen + first, sizeof eight);
        for (size_t token = first; eight && token < first + 8; token++)
            if (seen[token])
                all[at++] = (int64_t)token;
    }
    for (long i = 0; i < at; i++)
        (*weights)[i] = i < words ? 1.0f : (float)sums[all[i]];
    ids->ids = all;
    ids->count = at;
    return 1;
}

/* The embedding of these pieces; `plain` is how many are not of the lexicon. 0 with an exception. */
static int embedded(const Table *table, Ids *ids, float *out, Room *room, long *plain)
{
    float *weights = NULL;
    *plain = 0;
    for (long i = 0; i < ids->count; i++) {
        if (ids->ids[i] < 0 || ids->ids[i] - table->tokens >= table->entries + table->hashes) {
            PyErr_SetString(PyExc_ValueError, "there is no such piece");
            return 0;
        }
        *plain += ids->ids[i] < table->tokens;
    }
    if (*plain < ids->count && !expanded(table, ids, &weights, room))
        return 0;
    arithmetic->embed(table, ids->ids, weights, ids->count, out);
    return 1;
}

/* embed(ids: bytes of int64, out float32 (embedded,)) */
static PyObject *table_embed(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    const Table *table = &((Stage *)object)->as.table;
    Py_buffer numbers, out;
    if (!has_arguments(given, 2) || PyObject_GetBuffer(arguments[0], &numbers, PyBUF_C_CONTIGUOUS) < 0)
        return NULL;
    if (get(arguments[1], &out, 'f', table->embedded, PyBUF_WRITABLE) < 0) {
        PyBuffer_Release(&numbers);
        return NULL;
    }
    double on_stack[6000];
    Room room = {(char *)on_stack, sizeof on_stack, 0, 0, {NULL}};
    Ids ids = {NULL, (long)(numbers.len / 8), 0};
    long plain;
    int done = (ids.ids = room_for(&room, (size_t)numbers.len + 8)) != NULL;
    if (done) {
        memcpy(ids.ids, numbers.buf, (size_t)ids.count * 8);
        done = embedded(table, &ids, out.buf, &room, &plain);
    }
    leave(&room);
    PyBuffer_Release(&numbers);
    PyBuffer_Release(&out);
    return done ? none() : NULL;
}

/* ids(text, memo) -> bytes of int64, or the list of the words that only the tokenizer or the lexicon can read and that
 * are not in `memo` (bytes of int64 by word); a `memo` of None is an empty one, where the lexicon reads none of the words
 */
static PyObject *pieces_ids(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    if (!has_arguments(given, 2))
        return NULL;
    PyObject *memo = arguments[1] == Py_None ? NULL : arguments[1];
    if (memo != NULL && !is_a(memo, DICTIONARY)) {
        PyErr_SetString(PyExc_TypeError, "the memo is no dictionary");
        return NULL;
    }
    double on_stack[6000];
    Room room = {(char *)on_stack, sizeof on_stack, 0, 0, {NULL}};
    Points points;
    Ids ids;
    PyObject *missing = NULL, *result = NULL;
    int done = points_of(arguments[0], READ_HALF, READ_HALF, &room, &points) &&
               pieces_of_text(&((Stage *)object)->as.vocabulary, arguments[0], &points, memo, &room, &ids, &missing);
    if (done && missing == NULL)
        result = PyBytes_FromStringAndSize((const char *)ids.ids, ids.count * (Py_ssize_t)sizeof *ids.ids);
    else if (done)
        result = missing;
    else if (missing != NULL)
        Py_DecRef(missing);
    leave(&room);
    return result;
}

/* ---- n-grams ------------------------------------------------------------------------------------------------------ */

/* The units of a text's n-grams, the text clipped and in lower case by Python; returns how many they are, -1 with an
 * exception. */
static long units_by_python(PyObject *text, Room *room, uint32_t **units)
{
    Py_ssize_t length = PyUnicode_GetLength(text);
    Points points;
    long count = -1;
    PyObject *parts[5] = {NULL};
    if (length > GRAMS_FIRST + GRAMS_LAST) {
        parts[0] = PyUnicode_Substring(text, 0, GRAMS_FIRST);
        parts[1] = PyUnicode_FromString(" ");
        parts[2] = PyUnicode_Substring(text, length - GRAMS_LAST, length);
        if (parts[0] != NULL && parts[1] != NULL && parts[2] != NULL &&
            (parts[3] = PyUnicode_Concat(parts[0], parts[1])) != NULL)
            text = parts[4] = PyUnicode_Concat(parts[3], parts[2]);
        else
            text = NULL;
    }
    PyObject *lower = text == NULL ? NULL : PyObject_CallMethod(text, "lower", NULL);
    if (lower != NULL && points_of(lower, PyUnicode_GetLength(lower), 0, room, &points) &&
        (*units = room_for(room, (2 * (size_t)points.length + 2) * sizeof **units)) != NULL)
        count = units_of(points.points, points.length, NULL, *units);
    for (int i = 0; i < 5; i++)
        if (parts[i] != NULL)
            Py_DecRef(parts[i]);
    if (lower != NULL)
        Py_DecRef(lower);
    return count;
}

/* The sum of the rows of a text's n-grams. `points` are those of the text where they are known, else NULL. 0 with an
 * exception. */
static int grams_of(const Reading *reading, const Character *characters, PyObject *text, const Points *points,
                    Room *room, float *out)
{
    Points own;
    uint32_t *units, *rows;
    if (points != NULL && points->length == PyUnicode_GetLength(text) && points->length > GRAMS_FIRST + GRAMS_LAST) {
        own.length = GRAMS_FIRST + 1 + GRAMS_LAST;
        if ((own.points = room_for(room, (size_t)own.length * sizeof *own.points)) == NULL)
            return 0;
        memcpy(own.points, points->points, GRAMS_FIRST * sizeof *own.points);
        own.points[GRAMS_FIRST] = ' ';
        memcpy(own.points + GRAMS_FIRST + 1, points->points + points->length - GRAMS_LAST, GRAMS_LAST * sizeof *own.points);
        points = &own;
    } else if (points == NULL || points->length > GRAMS_FIRST + GRAMS_LAST) {
        if (!points_of(text, GRAMS_FIRST, GRAMS_LAST, room, &own))
            return 0;
        points = &own;
    }
    if ((units = room_for(room, (2 * (size_t)points->length + 2) * sizeof *units)) == NULL)
        return 0;
    long count = units_of(points->points, points->length, characters, units);
    if (count < 0 && (count = units_by_python(text, room, &units)) < 0)
        return 0;
    if ((rows = room_for(room, 2 * (size_t)count * sizeof *rows)) == NULL)
        return 0;
    long found = rows_of_grams(units, count, GRAM_BITS, rows);
    arithmetic->sum_of_grams(reading->grams, reading->readings, rows, found, out);
    return 1;
}

/* ---- prompts ------------------------------------------------------------------------------------------------------ */

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
