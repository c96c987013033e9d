/* The stages that forecast: the projection of a prompt, and the cards. */

/* Projection(landmarks' center, integers, scale, levels, skills, center, scale, similarity's center and scale,
 *            in and out of domain float32 (regressors, columns), length float64 (regressors,), axes float32 (embedded,
 *            directions), extra precision, quantiles' scores and novelties, constants); `levels` and `skills` are
 *            whole numbers */
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
