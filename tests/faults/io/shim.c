/* Fails chosen calls of the C library in the files of one folder, and connections: LD_PRELOAD of a gateway under test.
 *
 * SHIM_FOLDER is the folder, SHIM_CONTROL a file of int64 that the test writes and reads through a shared mapping:
 *   0 operations that may fail, as bits   1 the call that fails first, from 1   2 how many calls fail, -1 for all
 *   3 errno   4 if not 0, the first failing write writes half and reports that   5 how many calls have failed
 *   8 + operation: how many calls were made
 * Several processes may share it. See shim.py.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN, READ, WRITE, SYNC, RENAME, UNLINK, TRUNCATE, CONNECT, LOG };
enum { MASK, FIRST, TIMES, ERROR, SHORT, FAILED, SEEN = 8, WORDS = 32 };

static volatile int64_t *control;
static char folder[PATH_MAX];
static size_t folder_length;
/* Descriptors of files in the folder. */
static unsigned char watched[65536];

/* What was forked from a process that had no such variables, and has them now, calls it. */
__attribute__((constructor)) void shim_begin(void) {
  const char *path = getenv("SHIM_CONTROL"), *name = getenv("SHIM_FOLDER");
  if (!path || !name || strlen(name) >= sizeof folder) return;
  strcpy(folder, name);
  folder_length = strlen(folder);
  int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
  int file = real_open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void *mapped = mmap(NULL, WORDS * sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  int (*real_close)(int) = dlsym(RTLD_NEXT, "close");
  real_close(file);
  if (mapped != MAP_FAILED) control = mapped;
}

static int is_inside(const char *path) {
  return folder_length && path && strncmp(path, folder, folder_length) == 0 && path[folder_length] == '/';
}

static int is_watched(int file) { return file >= 0 && file < (int)sizeof watched && watched[file]; }

/* The errno with which this call fails; 0 where it does not. */
static int failure(int operation) {
  if (!control) return 0;
  __sync_fetch_and_add(&control[SEEN + operation], 1);
  if (!(control[MASK] >> operation & 1)) return 0;
  if (__sync_fetch_and_sub(&control[FIRST], 1) > 1) return 0;
  if (control[TIMES] >= 0 && __sync_fetch_and_sub(&control[TIMES], 1) <= 0) {
    control[TIMES] = 0;
    return 0;
  }
  __sync_fetch_and_add(&control[FAILED], 1);
  return (int)control[ERROR];
}

/* Whether this failing write writes half of its bytes instead. */
static int is_short(void) { return control[SHORT] && __sync_bool_compare_and_swap(&control[SHORT], 1, 0); }

static int watch(int file, const char *path) {
  if (file >= 0 && file < (int)sizeof watched) watched[file] = is_inside(path);
  return file;
}

#define REAL(name, type, ...) \
  static type (*real)(__VA_ARGS__); \
  if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define FAIL_IF(condition, operation) \
  do { \
    int problem = (condition) ? failure(operation) : 0; \
    if (problem) { errno = problem; return -1; } \
  } while (0)

#define MODE \
  mode_t mode = 0; \
  if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

#define OPEN_FUNCTION(name) \
  int name(const char *path, int flags, ...) { \
    REAL(#name, int, const char *, int, ...); \
    MODE \
    FAIL_IF(is_inside(path), OPEN); \
    return watch(real(path, flags, mode), path); \
  }
OPEN_FUNCTION(open)
OPEN_FUNCTION(open64)

#define OPENAT_FUNCTION(name) \
  int name(int where, const char *path, int flags, ...) { \
    REAL(#name, int, int, const char *, int, ...); \
    MODE \
    FAIL_IF(is_inside(path), OPEN); \
    return watch(real(where, path, flags, mode), path); \
  }
OPENAT_FUNCTION(openat)
OPENAT_FUNCTION(openat64)

int close(int file) {
  REAL("close", int, int);
  if (file >= 0 && file < (int)sizeof watched) watched[file] = 0;
  return real(file);
}

#define WRITE_FUNCTION(name, parameters, arguments, half_arguments, ...) \
  ssize_t name parameters { \
    REAL(#name, ssize_t, __VA_ARGS__); \
    int operation = is_watched(file) ? WRITE : file == 1 || file == 2 ? LOG : -1; \
    int problem = operation < 0 ? 0 : failure(operation); \
    if (problem && size > 1 && is_short()) return real half_arguments; \
    if (problem) { errno = problem; return -1; } \
    return real arguments; \
  }
WRITE_FUNCTION(write, (int file, const void *from, size_t size), (file, from, size), (file, from, size / 2), int, const void *, size_t)
WRITE_FUNCTION(pwrite, (int file, const void *from, size_t size, off_t at), (file, from, size, at), (file, from, size / 2, at), int, const void *, size_t, off_t)
WRITE_FUNCTION(pwrite64, (int file, const void *from, size_t size, off64_t at), (file, from, size, at), (file, from, size / 2, at), int, const void *, size_t, off64_t)

ssize_t writev(int file, const struct iovec *parts, int count) {
  REAL("writev", ssize_t, int, const struct iovec *, int);
  FAIL_IF(is_watched(file), WRITE);
  return real(file, parts, count);
}

ssize_t read(int file, void *to, size_t size) {
  REAL("read", ssize_t, int, void *, size_t);
  FAIL_IF(is_watched(file), READ);
  return real(file, to, size);
}

ssize_t pread64(int file, void *to, size_t size, off64_t at) {
  REAL("pread64", ssize_t, int, void *, size_t, off64_t);
  FAIL_IF(is_watched(file), READ);
  return real(file, to, size, at);
}

/* The C library opens the folder itself. */
DIR *opendir(const char *path) {
  REAL("opendir", DIR *, const char *);
  int problem = path && (is_inside(path) || strcmp(path, folder) == 0) ? failure(OPEN) : 0;
  if (problem) { errno = problem; return NULL; }
  return real(path);
}

int fsync(int file) { REAL("fsync", int, int); FAIL_IF(is_watched(file), SYNC); return real(file); }
int fdatasync(int file) { REAL("fdatasync", int, int); FAIL_IF(is_watched(file), SYNC); return real(file); }
int ftruncate(int file, off_t size) { REAL("ftruncate", int, int, off_t); FAIL_IF(is_watched(file), TRUNCATE); return real(file, size); }
int ftruncate64(int file, off64_t size) { REAL("ftruncate64", int, int, off64_t); FAIL_IF(is_watched(file), TRUNCATE); return real(file, size); }
int unlink(const char *path) { REAL("unlink", int, const char *); FAIL_IF(is_inside(path), UNLINK); return real(path); }
int unlinkat(int where, const char *path, int flags) { REAL("unlinkat", int, int, const char *, int); FAIL_IF(is_inside(path), UNLINK); return real(where, path, flags); }
int rename(const char *from, const char *to) { REAL("rename", int, const char *, const char *); FAIL_IF(is_inside(to), RENAME); return real(from, to); }
int renameat(int a, const char *from, int b, const char *to) { REAL("renameat", int, int, const char *, int, const char *); FAIL_IF(is_inside(to), RENAME); return real(a, from, b, to); }

int connect(int socket, const struct sockaddr *address, socklen_t size) {
  REAL("connect", int, int, const struct sockaddr *, socklen_t);
  FAIL_IF(address && (address->sa_family == AF_INET || address->sa_family == AF_INET6), CONNECT);
  return real(socket, address, size);
}
