import ctypes

library: ctypes.CDLL
