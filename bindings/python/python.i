/* python.i - how values cross between Python and C. */
%begin %{
#define PY_SSIZE_T_CLEAN
%}
%{
#include "python/values.h"
%}
%include "stdint.i"

/* Only what can wait gives up the interpreter's lock. */
%nothread;

%typemap(in, numinputs=0) struct outtray_error *err
    (struct outtray_error error) %{
    memset(&error, 0, sizeof(error));
    $1 = &error;
%}
%typemap(argout) struct outtray_error *err %{
    if ($1->code != 0) {
        Py_CLEAR($result);
        raise_error($1);
        SWIG_fail;
    }
%}

%typemap(out) outtray_rc %{
    (void)$1;
    $result = Py_NewRef(Py_None);
%}

/* Of a file's name the bytes. */
%typemap(in) const char * %{
    $1 = ($1_ltype)argument_read($input);
    if ($1 == NULL)
        SWIG_fail;
%}
%typemap(freearg) const char * ""

/* Text or nothing. */
%typemap(out) const char * %{
    $result = text_or_none($1);
%}

%typemap(in) (const struct outtray_event *events, size_t n)
    (struct events in) %{
    memset(&in, 0, sizeof(in));
    if (!events_read(&in, $input))
        SWIG_fail;
    $1 = in.events;
    $2 = in.n;
%}
%typemap(arginit) (const struct outtray_event *events, size_t n) %{
    memset(&in$argnum, 0, sizeof(in$argnum));
%}
%typemap(freearg) (const struct outtray_event *events, size_t n) %{
    events_release(&in$argnum);
%}

%typemap(in, numinputs=0) struct outtray_statement *out
    (struct outtray_statement statement) %{
    memset(&statement, 0, sizeof(statement));
    $1 = &statement;
%}
%typemap(argout) struct outtray_statement *out %{
    if ($1->sql != NULL) {
        Py_CLEAR($result);
        $result = statement_value($1);
        if ($result == NULL)
            SWIG_fail;
    }
%}
%typemap(freearg) struct outtray_statement *out %{
    outtray_statement_free($1);
%}

%typemap(in, numinputs=0) char out[37] (char text[37]) %{
    text[0] = '\0';
    $1 = text;
%}
%typemap(argout) char out[37] %{
    Py_CLEAR($result);
    $result = $1[0] != '\0' ? PyUnicode_FromString($1) : Py_NewRef(Py_None);
%}

%typemap(in, numinputs=0) struct outtray_log_line *line
    (struct outtray_log_line log_line) %{
    $1 = &log_line;
%}
%typemap(argout) struct outtray_log_line *line %{
    if (result) {
        Py_CLEAR($result);
        $result = log_line_value($1);
    } else {
        Py_CLEAR($result);
        $result = Py_NewRef(Py_None);
    }
%}

%typemap(out) const struct outtray_batch_event * %{
    $result = $1 != NULL ? batch_event_value($1, NULL, NULL)
                         : Py_NewRef(Py_None);
    if ($result == NULL)
        SWIG_fail;
%}

/* A tuple of bytes. */
%typemap(in) (int argc, char **argv) %{
    $2 = arguments_read($input, &$1);
    if ($2 == NULL)
        SWIG_fail;
%}
%typemap(arginit) (int argc, char **argv) %{
    $2 = NULL;
%}
%typemap(freearg) (int argc, char **argv) %{
    free($2);
%}

/* All events of a batch in one call. */
%inline %{
PyObject *batch_events(struct outtray_taken *t)
{
    return batch_value(t->batch);
}
%}
