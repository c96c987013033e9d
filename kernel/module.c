/* The compiled kernel of router.perceive: reading of prompts and forecasts, to the same bits as the numpy code.
 *
 * Each type binds the arrays of one stage once; its method then has a few pointers to follow. Everything that a caller
 * passes is checked here, so that the arithmetic need not. Built for the limited API of Python 3.11 (abi3).
 */
#include "python.h"
#include "structs.h"
#include "text/characters.h"
#include "text/pieces.h"
#include "text/lexicon.h"
#include "text/surface.h"
#include "text/grams.h"

#ifndef PULVINAR_SOURCES
#define PULVINAR_SOURCES "unknown"
#endif

#define ISA(name) name##_baseline
#define IS_AVX2 0
#define WIDEN4 WIDENED
#include "arithmetic/arithmetic.h"
#include "arithmetic/batches.h"
#undef ISA
#undef IS_AVX2
#undef WIDEN4

#if defined(__x86_64__) || defined(_M_X64)
#define HAS_AVX2 1
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,f16c")
#endif
#define ISA(name) name##_avx2
#define IS_AVX2 1
#define WIDEN4 WIDENED_BY_AVX2
#include "arithmetic/arithmetic.h"
#include "arithmetic/batches.h"
#undef ISA
#undef IS_AVX2
#undef WIDEN4
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
    /* XSAVE, AVX and the conversion of half floats, which every machine with AVX2 has. */
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27)) || !(c & (1u << 28)) || !(c & (1u << 29)))
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
static const Batches *batches = &batches_baseline;

#include "bind/stage.h"
#include "plans/choice.h"
#include "plans/cascade.h"
#include "plans/members.h"
#include "plans/achieved.h"
#include "plans/figures.h"
#include "prompts/room.h"
#include "bind/reader.h"
#include "prompts/embedding.h"
#include "prompts/prompt.h"
#include "prompts/many.h"
#include "bind/forecasts.h"
#include "bind/plans.h"
#include "bind/batches.h"

/* use(name): the instructions to use, "baseline" or "avx2", so that tests can compare them. */
static PyObject *use(PyObject *module, PyObject *name)
{
    (void)module;
    const char *wanted = PyUnicode_AsUTF8AndSize(name, NULL);
    if (wanted == NULL)
        return NULL;
    if (!strcmp(wanted, "baseline")) {
        arithmetic = &arithmetic_baseline;
        batches = &batches_baseline;
        return none();
    }
#if HAS_AVX2
    if (!strcmp(wanted, "avx2") && machine_has_avx2()) {
        arithmetic = &arithmetic_avx2;
        batches = &batches_avx2;
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

#define NO_METHODS(kind)                                                   \
    static PyType_Slot kind##_slots[] = {{Py_tp_new, (void *)kind##_new}, \
                                         {Py_tp_dealloc, (void *)stage_dealloc}, \
                                         {0, NULL}};
#define METHOD(kind, name) {#name, (PyCFunction)(void (*)(void))kind##_##name, METH_FASTCALL, NULL}
#define METHODS(kind, ...)                                                                         \
    static PyMethodDef kind##_methods[] = {__VA_ARGS__, {NULL, NULL, 0, NULL}};                    \
    static PyType_Slot kind##_slots[] = {{Py_tp_new, (void *)kind##_new},                          \
                                         {Py_tp_dealloc, (void *)stage_dealloc},                   \
                                         {Py_tp_methods, kind##_methods},                          \
                                         {0, NULL}};
METHODS(pieces, METHOD(pieces, ids))
METHODS(table, METHOD(table, embed))
NO_METHODS(surface)
NO_METHODS(reading)
METHODS(projection, METHOD(projection, project))
METHODS(cards, METHOD(cards, forecast), METHOD(cards, qualities))
METHODS(prompts, METHOD(prompts, read), METHOD(prompts, read_all))
METHODS(plans, METHOD(plans, expected))
METHODS(words, METHOD(words, entries))

static PyType_Spec specs[] = {
    {"router.perceive.kernel._kernel.Pieces", sizeof(Stage), 0, 0, pieces_slots},
    {"router.perceive.kernel._kernel.Table", sizeof(Stage), 0, 0, table_slots},
    {"router.perceive.kernel._kernel.Surface", sizeof(Stage), 0, 0, surface_slots},
    {"router.perceive.kernel._kernel.Reading", sizeof(Stage), 0, 0, reading_slots},
    {"router.perceive.kernel._kernel.Projection", sizeof(Stage), 0, 0, projection_slots},
    {"router.perceive.kernel._kernel.Cards", sizeof(Stage), 0, 0, cards_slots},
    {"router.perceive.kernel._kernel.Prompts", sizeof(Stage), 0, 0, prompts_slots},
    {"router.perceive.kernel._kernel.Plans", sizeof(Stage), 0, 0, plans_slots},
    {"router.perceive.kernel._kernel.Words", sizeof(Stage), 0, 0, words_slots},
};

static int execute(PyObject *module)
{
#if HAS_AVX2
    if (machine_has_avx2()) {
        arithmetic = &arithmetic_avx2;
        batches = &batches_avx2;
    }
#endif
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, &specs[i], NULL);
        if (type == NULL)
            return -1;
        /* Types stay referred to, since arguments are compared with them. */
        types[i] = (PyTypeObject *)type;
        if (PyModule_AddType(module, types[i]) < 0)
            return -1;
    }
    return PyModule_AddStringConstant(module, "SOURCES", PULVINAR_SOURCES);
}

#define FUNCTION(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, NULL}
static PyMethodDef functions[] = {{"use", use, METH_O, NULL},
                                  {"instructions", instructions, METH_NOARGS, NULL},
                                  FUNCTION(similarities),
                                  FUNCTION(in_order),
                                  FUNCTION(cells),
                                  FUNCTION(loss_and_cost),
                                  FUNCTION(totals),
                                  FUNCTION(first_of),
                                  FUNCTION(choose),
                                  FUNCTION(cascade),
                                  {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, (void *)execute}, {0, NULL}};
static PyModuleDef definition = {
    {1, NULL}, NULL, 0, NULL, "_kernel", NULL, 0, functions, module_slots, NULL, NULL, NULL};

PY_EXPORT PyObject *PyInit__kernel(void) { return PyModuleDef_Init(&definition); }
