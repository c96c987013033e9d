/* The memory of one call, and the code points of its texts. */

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
