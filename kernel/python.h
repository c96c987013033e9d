/* The part of Python's stable ABI (abi3 of 3.11, PEP 384 and 652) that the extension uses.
 *
 * Declared here, so that it can be built where Python's headers are not installed, and for another platform than that
 * of the compiler. Everything in it is fixed for all later versions.
 */
#ifndef PULVINAR_PYTHON_H
#define PULVINAR_PYTHON_H

#include <stddef.h>
#include <stdint.h>

typedef intptr_t Py_ssize_t;
#define PY_SSIZE_T_MAX INTPTR_MAX

#if defined(_WIN32)
#define PY_API extern __declspec(dllimport)
#define PY_EXPORT __declspec(dllexport)
#else
#define PY_API extern
#define PY_EXPORT __attribute__((visibility("default")))
#endif

typedef struct _typeobject PyTypeObject;
typedef struct _ts PyThreadState;
typedef struct { Py_ssize_t ob_refcnt; PyTypeObject *ob_type; } PyObject;
#define PyObject_HEAD PyObject ob_base;

typedef struct {
    void *buf;
    PyObject *obj;
    Py_ssize_t len, itemsize;
    int readonly, ndim;
    char *format;
    Py_ssize_t *shape, *strides, *suboffsets;
    void *internal;
} Py_buffer;

typedef PyObject *(*PyCFunction)(PyObject *, PyObject *);
typedef PyObject *(*allocfunc)(PyTypeObject *, Py_ssize_t);
typedef void (*freefunc)(void *);
typedef struct { const char *ml_name; PyCFunction ml_meth; int ml_flags; const char *ml_doc; } PyMethodDef;
typedef struct { int slot; void *pfunc; } PyType_Slot;
typedef struct { const char *name; int basicsize, itemsize; unsigned int flags; PyType_Slot *slots; } PyType_Spec;
typedef struct { int slot; void *value; } PyModuleDef_Slot;
typedef struct {
    PyObject ob_base;
    PyObject *(*m_init)(void);
    Py_ssize_t m_index;
    PyObject *m_copy;
    const char *m_name, *m_doc;
    Py_ssize_t m_size;
    PyMethodDef *m_methods;
    PyModuleDef_Slot *m_slots;
    void *m_traverse, *m_clear, *m_free;
} PyModuleDef;

enum { METH_NOARGS = 4, METH_O = 8, METH_FASTCALL = 0x80 };
enum { Py_tp_alloc = 47, Py_tp_dealloc = 52, Py_tp_methods = 64, Py_tp_new = 65, Py_tp_free = 74, Py_mod_exec = 2 };
enum { PyBUF_WRITABLE = 1, PyBUF_FORMAT = 4, PyBUF_C_CONTIGUOUS = 0x38 };
/* Bits of a type's flags. */
enum { LIST = 25, TUPLE = 26, UNICODE = 28, DICTIONARY = 29 };

PY_API PyObject *PyExc_TypeError, *PyExc_ValueError;
PY_API PyObject _Py_NoneStruct;
#define Py_None (&_Py_NoneStruct)

PY_API void Py_IncRef(PyObject *);
PY_API void Py_DecRef(PyObject *);
PY_API int PyArg_ParseTuple(PyObject *, const char *, ...);
PY_API PyObject *PyBool_FromLong(long);
PY_API int PyBytes_AsStringAndSize(PyObject *, char **, Py_ssize_t *);
PY_API PyObject *PyBytes_FromStringAndSize(const char *, Py_ssize_t);
PY_API void PyBuffer_Release(Py_buffer *);
PY_API PyObject *PyDict_GetItemWithError(PyObject *, PyObject *);
PY_API void PyErr_Clear(void);
PY_API PyObject *PyErr_Format(PyObject *, const char *, ...);
PY_API PyObject *PyErr_NoMemory(void);
PY_API PyObject *PyErr_Occurred(void);
PY_API void PyErr_SetString(PyObject *, const char *);
PY_API void PyEval_RestoreThread(PyThreadState *);
PY_API PyThreadState *PyEval_SaveThread(void);
PY_API double PyFloat_AsDouble(PyObject *);
PY_API PyObject *PyFloat_FromDouble(double);
PY_API int PyList_Append(PyObject *, PyObject *);
PY_API PyObject *PyList_GetItem(PyObject *, Py_ssize_t);
PY_API PyObject *PyList_New(Py_ssize_t);
PY_API int PyList_SetItem(PyObject *, Py_ssize_t, PyObject *);
PY_API Py_ssize_t PyList_Size(PyObject *);
PY_API Py_ssize_t PyLong_AsSsize_t(PyObject *);
PY_API PyObject *PyLong_FromSsize_t(Py_ssize_t);
PY_API void *PyMem_Calloc(size_t, size_t);
PY_API void PyMem_Free(void *);
PY_API void *PyMem_Malloc(size_t);
PY_API int PyModule_AddStringConstant(PyObject *, const char *, const char *);
PY_API int PyModule_AddType(PyObject *, PyTypeObject *);
PY_API PyObject *PyModuleDef_Init(PyModuleDef *);
PY_API PyObject *PyObject_CallMethod(PyObject *, const char *, const char *, ...);
PY_API int PyObject_GetBuffer(PyObject *, Py_buffer *, int);
PY_API PyObject *PyTuple_GetItem(PyObject *, Py_ssize_t);
PY_API PyObject *PyTuple_New(Py_ssize_t);
PY_API int PyTuple_SetItem(PyObject *, Py_ssize_t, PyObject *);
PY_API Py_ssize_t PyTuple_Size(PyObject *);
PY_API PyObject *PyType_FromModuleAndSpec(PyObject *, PyType_Spec *, PyObject *);
PY_API unsigned long PyType_GetFlags(PyTypeObject *);
PY_API void *PyType_GetSlot(PyTypeObject *, int);
PY_API uint32_t *PyUnicode_AsUCS4(PyObject *, uint32_t *, Py_ssize_t, int);
PY_API const char *PyUnicode_AsUTF8AndSize(PyObject *, Py_ssize_t *);
PY_API PyObject *PyUnicode_Concat(PyObject *, PyObject *);
PY_API PyObject *PyUnicode_FromString(const char *);
PY_API Py_ssize_t PyUnicode_GetLength(PyObject *);
PY_API PyObject *PyUnicode_Substring(PyObject *, Py_ssize_t, Py_ssize_t);

static inline int is_a(PyObject *object, int flag) { return PyType_GetFlags(object->ob_type) >> flag & 1; }

#endif
