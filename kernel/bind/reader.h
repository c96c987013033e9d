/* The stages that read a prompt: their arrays are checked here. */

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

/* entries(text) -> the list of the numbers of its words, the longest first; for a character at which none begins,
 * -1 - its position
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
