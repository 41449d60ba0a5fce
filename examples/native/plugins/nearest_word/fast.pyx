# Compares words; twin.py does the same in Python.
from libc.stdlib cimport free, malloc


def distance(str one, str other) -> int:
    """Return how many characters must be added, removed or replaced to make one word of the other."""
    cdef Py_ssize_t length = len(other), number = 0, column
    cdef Py_ssize_t before, cost
    cdef Py_UCS4 left, right
    cdef Py_ssize_t *row = <Py_ssize_t *>malloc((length + 1) * sizeof(Py_ssize_t))
    if row == NULL:
        raise MemoryError
    try:
        for column in range(length + 1):
            row[column] = column
        for left in one:
            number += 1
            before, row[0] = row[0], number
            column = 0
            for right in other:
                column += 1
                cost = min(row[column] + 1, row[column - 1] + 1, before + (left != right))
                before, row[column] = row[column], cost
        return row[length]
    finally:
        free(row)
