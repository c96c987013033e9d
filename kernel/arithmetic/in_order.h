/* Products of a vector and a matrix, in their order; included by arithmetic.h once for every instruction set. */

/* sums[c] = x[0] * matrix[0][c] + x[1] * matrix[1][c] …, in this order; `columns` is a multiple of four. Matrices of
 * float32, which are exact in float64, take half of the cache.
 */
#define IN_ORDER(name, number, WIDEN)                                                                  \
    static void ISA(name)(const double *x, const number *matrix, long rows, long columns, double *sums)\
    {                                                                                                  \
        long column = 0;                                                                               \
        for (; column + 32 <= columns; column += 32) {                                                 \
            double4 numbers, a = {0}, b = {0}, c = {0}, d = {0}, e = {0}, f = {0}, g = {0}, h = {0};   \
            const number *row = matrix + column;                                                       \
            for (long i = 0; i < rows; i++, row += columns) {                                          \
                double4 factor = ALL4(x[i]);                                                           \
                WIDEN(numbers, row + 0);                                                               \
                a += factor * numbers;                                                                 \
                WIDEN(numbers, row + 4);                                                               \
                b += factor * numbers;                                                                 \
                WIDEN(numbers, row + 8);                                                               \
                c += factor * numbers;                                                                 \
                WIDEN(numbers, row + 12);                                                              \
                d += factor * numbers;                                                                 \
                WIDEN(numbers, row + 16);                                                              \
                e += factor * numbers;                                                                 \
                WIDEN(numbers, row + 20);                                                              \
                f += factor * numbers;                                                                 \
                WIDEN(numbers, row + 24);                                                              \
                g += factor * numbers;                                                                 \
                WIDEN(numbers, row + 28);                                                              \
                h += factor * numbers;                                                                 \
            }                                                                                          \
            STORE4(sums + column + 0, a);                                                              \
            STORE4(sums + column + 4, b);                                                              \
            STORE4(sums + column + 8, c);                                                              \
            STORE4(sums + column + 12, d);                                                             \
            STORE4(sums + column + 16, e);                                                             \
            STORE4(sums + column + 20, f);                                                             \
            STORE4(sums + column + 24, g);                                                             \
            STORE4(sums + column + 28, h);                                                             \
        }                                                                                              \
        for (; column + 16 <= columns; column += 16) {                                                 \
            double4 numbers, a = {0}, b = {0}, c = {0}, d = {0};                                       \
            const number *row = matrix + column;                                                       \
            for (long i = 0; i < rows; i++, row += columns) {                                          \
                double4 factor = ALL4(x[i]);                                                           \
                WIDEN(numbers, row + 0);                                                               \
                a += factor * numbers;                                                                 \
                WIDEN(numbers, row + 4);                                                               \
                b += factor * numbers;                                                                 \
                WIDEN(numbers, row + 8);                                                               \
                c += factor * numbers;                                                                 \
                WIDEN(numbers, row + 12);                                                              \
                d += factor * numbers;                                                                 \
            }                                                                                          \
            STORE4(sums + column + 0, a);                                                              \
            STORE4(sums + column + 4, b);                                                              \
            STORE4(sums + column + 8, c);                                                              \
            STORE4(sums + column + 12, d);                                                             \
        }                                                                                              \
        for (; column + 12 <= columns; column += 12) {                                                 \
            double4 numbers, a = {0}, b = {0}, c = {0};                                                \
            const number *row = matrix + column;                                                       \
            for (long i = 0; i < rows; i++, row += columns) {                                          \
                double4 factor = ALL4(x[i]);                                                           \
                WIDEN(numbers, row + 0);                                                               \
                a += factor * numbers;                                                                 \
                WIDEN(numbers, row + 4);                                                               \
                b += factor * numbers;                                                                 \
                WIDEN(numbers, row + 8);                                                               \
                c += factor * numbers;                                                                 \
            }                                                                                          \
            STORE4(sums + column + 0, a);                                                              \
            STORE4(sums + column + 4, b);                                                              \
            STORE4(sums + column + 8, c);                                                              \
        }                                                                                              \
        for (; column + 4 <= columns; column += 4) {                                                   \
            double4 numbers, a = {0};                                                                  \
            const number *row = matrix + column;                                                       \
            for (long i = 0; i < rows; i++, row += columns) {                                          \
                double4 factor = ALL4(x[i]);                                                           \
                WIDEN(numbers, row + 0);                                                               \
                a += factor * numbers;                                                                 \
            }                                                                                          \
            STORE4(sums + column + 0, a);                                                              \
        }                                                                                              \
    }
IN_ORDER(in_order, double, LOAD4)
IN_ORDER(in_order_of_floats, float, WIDEN4)
#undef IN_ORDER
