/* The tokens of a text, its embedding and the rows of its n-grams. */

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
