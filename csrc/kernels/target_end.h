/* Ends what target_begin.h began. */
#ifdef __clang__
LF_PRAGMA(clang attribute pop)
#else
LF_PRAGMA(GCC pop_options)
#endif
#undef LF_PRAGMA
#undef LF_PRAGMA_TEXT
#undef LF_TARGET
