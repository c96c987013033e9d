/* A stage: an object of Python that keeps the arrays of one step alive, and their pointers. */

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
