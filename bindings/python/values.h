/* values.h - values of Python become those of C and back. */
#ifndef OUTTRAY_BINDINGS_PYTHON_VALUES_H
#define OUTTRAY_BINDINGS_PYTHON_VALUES_H

#include <Python.h>
#include <stdlib.h>
#include <string.h>

#include "../handle.h"
#include "outtray.h"

/* Raise what errors.py makes of an error of the library. */
static void raise_error(const struct outtray_error *e)
{
    PyObject *module, *text, *made = NULL;

    if (PyErr_Occurred())
        return;
    module = PyImport_ImportModule("outtray.errors");
    if (module == NULL)
        return;
    text =
        PyUnicode_DecodeUTF8(e->text, (Py_ssize_t)strlen(e->text), "replace");
    if (text != NULL)
        made = PyObject_CallMethod(module, "from_core", "iOsi", e->code, text,
                                   e->sqlstate, e->native);
    if (made != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(made), made);
    Py_XDECREF(made);
    Py_XDECREF(text);
    Py_DECREF(module);
}

static PyObject *text_or_none(const char *text)
{
    if (text == NULL)
        return Py_NewRef(Py_None);
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

/* Of str or bytes, which outlive the call; NULL: an exception is set. What C would
 * cut short at a NUL is refused. */
static const char *argument_read(PyObject *value)
{
    struct outtray_error e = {.code = OUTTRAY_E_MISUSE};
    Py_ssize_t n = 0;
    const char *p = NULL;

    if (PyUnicode_Check(value)) {
        p = PyUnicode_AsUTF8AndSize(value, &n);
    } else if (PyBytes_Check(value)) {
        p = PyBytes_AsString(value);
        n = PyBytes_Size(value);
    } else {
        PyObject *name = PyType_GetName(Py_TYPE(value));

        if (name != NULL)
            PyErr_Format(PyExc_TypeError, "%R is no text, but of type %U",
                         value, name);
        Py_XDECREF(name);
        return NULL;
    }
    if (p != NULL && strlen(p) == (size_t)n)
        return p;
    if (p == NULL && !PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
        return NULL;
    PyErr_Clear();
    snprintf(e.text, sizeof(e.text), "%s",
             p != NULL ? "there is a NUL in a text, where it would end"
                       : "a text is not UTF-8: in a URL such a byte is written "
                         "as %E9");
    raise_error(&e);
    return NULL;
}

static PyObject *log_line_value(const struct outtray_log_line *line)
{
    PyObject *text = text_or_none(line->text);
    PyObject *value = NULL;

    if (text != NULL)
        value = Py_BuildValue("(isO)", line->level, line->facility, text);
    Py_XDECREF(text);
    return value;
}

/* --- events -------------------------------------------------------------- */

/* The members of an event in Python: a tuple of so many. */
enum {
    EVENT_TOPIC,
    EVENT_KEY,
    EVENT_TYPE,
    EVENT_HEADERS,
    EVENT_PAYLOAD,
    EVENT_ID,
    EVENT_DELIVER_AT,
    EVENT_MEMBERS
};

/* Events whose members are borrowed from Python's objects. */
struct events {
    struct outtray_event *events;
    size_t n;
    Py_buffer *views; /* of payloads that are not bytes */
    size_t nviews;
    struct outtray_event one;
    Py_buffer one_view;
};

static void events_release(struct events *in)
{
    for (size_t i = 0; i < in->nviews; i++)
        PyBuffer_Release(&in->views[i]);
    if (in->events != &in->one)
        free(in->events);
    if (in->views != &in->one_view)
        free(in->views);
    memset(in, 0, sizeof(*in));
}

static bool events_room(struct events *in, size_t n)
{
    in->n = n;
    if (n <= 1) {
        in->events = &in->one;
        in->views = &in->one_view;
        return true;
    }
    in->events = calloc(n, sizeof(*in->events));
    in->views = calloc(n, sizeof(*in->views));
    if (in->events != NULL && in->views != NULL)
        return true;
    PyErr_NoMemory();
    return false;
}

static void refuse_type(const char *member, PyObject *value)
{
    PyObject *name = PyType_GetName(Py_TYPE(value));

    if (name != NULL)
        PyErr_Format(PyExc_TypeError, "%s must be str, not %U", member, name);
    Py_XDECREF(name);
}

/* str, bytes or None; the object outlives the call. */
static bool text_read(struct outtray_slice *out, PyObject *value,
                      const char *member)
{
    Py_ssize_t n = 0;

    if (value == Py_None)
        return true;
    if (PyUnicode_Check(value)) {
        out->p = PyUnicode_AsUTF8AndSize(value, &n);
    } else if (PyBytes_Check(value)) {
        out->p = PyBytes_AsString(value);
        n = PyBytes_Size(value);
    } else {
        refuse_type(member, value);
    }
    out->n = (size_t)n;
    return out->p != NULL;
}

static bool payload_read(struct events *in, struct outtray_slice *out,
                         PyObject *value)
{
    Py_buffer *view;

    if (value == Py_None || PyBytes_Check(value) || PyUnicode_Check(value))
        return text_read(out, value, "payload");
    view = &in->views[in->nviews];
    if (PyObject_GetBuffer(value, view, PyBUF_SIMPLE) != 0)
        return false;
    in->nviews++;
    /* An empty payload is not an absent one. */
    out->p = view->buf != NULL ? view->buf : "";
    out->n = (size_t)view->len;
    return true;
}

static bool event_read(struct events *in, struct outtray_event *e,
                       PyObject *value)
{
    PyObject *member[EVENT_MEMBERS];

    if (!PyTuple_Check(value) || PyTuple_Size(value) != EVENT_MEMBERS) {
        PyErr_SetString(PyExc_TypeError, "an event is a tuple of 7 members");
        return false;
    }
    for (Py_ssize_t i = 0; i < EVENT_MEMBERS; i++)
        member[i] = PyTuple_GetItem(value, i);
    if (!text_read(&e->topic, member[EVENT_TOPIC], "topic") ||
        !text_read(&e->key, member[EVENT_KEY], "key") ||
        !text_read(&e->type, member[EVENT_TYPE], "type") ||
        !text_read(&e->headers, member[EVENT_HEADERS], "headers") ||
        !payload_read(in, &e->payload, member[EVENT_PAYLOAD]) ||
        !text_read(&e->id, member[EVENT_ID], "id"))
        return false;
    if (member[EVENT_DELIVER_AT] == Py_None)
        return true;
    e->deliver_at_us = PyLong_AsLongLong(member[EVENT_DELIVER_AT]);
    return !(e->deliver_at_us == -1 && PyErr_Occurred());
}

/* A tuple of tuples. False: an exception is set; release it all the same. */
static bool events_read(struct events *in, PyObject *value)
{
    if (!PyTuple_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "events are a tuple of tuples");
        return false;
    }
    if (!events_room(in, (size_t)PyTuple_Size(value)))
        return false;
    for (size_t i = 0; i < in->n; i++)
        if (!event_read(in, &in->events[i],
                        PyTuple_GetItem(value, (Py_ssize_t)i)))
            return false;
    return true;
}

/* --- statements ---------------------------------------------------------- */

static PyObject *param_value(const struct outtray_param *param)
{
    const Py_ssize_t n = (Py_ssize_t)param->value.n;

    switch (param->kind) {
    case OUTTRAY_PARAM_TEXT:
        return PyUnicode_FromStringAndSize(param->value.p, n);
    case OUTTRAY_PARAM_BYTES:
        return PyBytes_FromStringAndSize(param->value.p, n);
    case OUTTRAY_PARAM_NULL:
        break;
    }
    return Py_NewRef(Py_None);
}

static PyObject *params_value(const struct outtray_statement *s)
{
    PyObject *params = PyTuple_New((Py_ssize_t)s->nparams);

    for (size_t i = 0; params != NULL && i < s->nparams; i++) {
        PyObject *value = param_value(&s->params[i]);
        if (value == NULL)
            Py_CLEAR(params);
        else
            PyTuple_SetItem(params, (Py_ssize_t)i, value);
    }
    return params;
}

static PyObject *ids_value(const struct outtray_statement *s)
{
    PyObject *ids = PyTuple_New((Py_ssize_t)s->nids);

    for (size_t i = 0; ids != NULL && i < s->nids; i++) {
        PyObject *value = PyUnicode_FromStringAndSize(s->ids[i], 36);
        if (value == NULL)
            Py_CLEAR(ids);
        else
            PyTuple_SetItem(ids, (Py_ssize_t)i, value);
    }
    return ids;
}

/* (sql, parameters, ids) */
static PyObject *statement_value(const struct outtray_statement *s)
{
    PyObject *sql = PyUnicode_FromStringAndSize(s->sql, (Py_ssize_t)s->sql_n);
    PyObject *params = params_value(s);
    PyObject *ids = ids_value(s);
    PyObject *value = NULL;

    if (sql != NULL && params != NULL && ids != NULL)
        value = PyTuple_Pack(3, sql, params, ids);
    Py_XDECREF(sql);
    Py_XDECREF(params);
    Py_XDECREF(ids);
    return value;
}

/* --- batches ------------------------------------------------------------- */

static PyObject *text_value(const struct outtray_slice *text)
{
    if (text->p == NULL)
        return Py_NewRef(Py_None);
    return PyUnicode_DecodeUTF8(text->p, (Py_ssize_t)text->n, "replace");
}

static PyObject *bytes_value(const struct outtray_slice *bytes)
{
    if (bytes->p == NULL)
        return Py_NewRef(Py_None);
    return PyBytes_FromStringAndSize(bytes->p, (Py_ssize_t)bytes->n);
}

/* The text of the event before is taken once more if it is the same: most
 * events of a batch share topic and type. */
static PyObject *shared_value(const struct outtray_slice *text,
                              const struct outtray_slice *before,
                              PyObject *value)
{
    if (value != NULL && text->p != NULL && before->p != NULL &&
        text->n == before->n && memcmp(text->p, before->p, text->n) == 0)
        return Py_NewRef(value);
    return text_value(text);
}

enum {
    TAKEN_ID,
    TAKEN_TOPIC,
    TAKEN_KEY,
    TAKEN_TYPE,
    TAKEN_HEADERS,
    TAKEN_PAYLOAD,
    TAKEN_ORDER,
    TAKEN_CREATED_US,
    TAKEN_ATTEMPTS,
    TAKEN_MAYBE_DUPLICATE,
    TAKEN_MEMBERS
};

/* A tuple; before and its value: the event before, or NULL. */
static PyObject *batch_event_value(const struct outtray_batch_event *e,
                                   const struct outtray_batch_event *before,
                                   PyObject *value)
{
    PyObject *member[TAKEN_MEMBERS];
    PyObject *topic = NULL, *type = NULL, *tuple = PyTuple_New(TAKEN_MEMBERS);
    bool whole = tuple != NULL;

    if (tuple == NULL)
        return NULL;
    if (value != NULL) {
        topic = PyTuple_GetItem(value, TAKEN_TOPIC);
        type = PyTuple_GetItem(value, TAKEN_TYPE);
    }
    if (before == NULL)
        before = e;
    member[TAKEN_ID] = text_value(&e->event.id);
    member[TAKEN_TOPIC] =
        shared_value(&e->event.topic, &before->event.topic, topic);
    member[TAKEN_KEY] = text_value(&e->event.key);
    member[TAKEN_TYPE] =
        shared_value(&e->event.type, &before->event.type, type);
    member[TAKEN_HEADERS] = text_value(&e->event.headers);
    member[TAKEN_PAYLOAD] = bytes_value(&e->event.payload);
    member[TAKEN_ORDER] = text_value(&e->order);
    member[TAKEN_CREATED_US] = PyLong_FromLongLong(e->created_us);
    member[TAKEN_ATTEMPTS] = PyLong_FromUnsignedLong(e->attempts);
    member[TAKEN_MAYBE_DUPLICATE] = PyBool_FromLong(e->maybe_duplicate);
    for (Py_ssize_t i = 0; i < TAKEN_MEMBERS; i++) {
        whole = whole && member[i] != NULL;
        PyTuple_SetItem(tuple, i, member[i]); /* takes it over */
    }
    if (!whole)
        Py_CLEAR(tuple);
    return tuple;
}

/* A list of such tuples. */
static PyObject *batch_value(const struct outtray_batch *batch)
{
    const struct outtray_batch_event *before = NULL, *e;
    const size_t n = outtray_batch_size(batch);
    PyObject *value = NULL, *list = PyList_New((Py_ssize_t)n);

    for (size_t i = 0; i < n && list != NULL; i++, before = e) {
        e = outtray_batch_event(batch, i);
        value = batch_event_value(e, before, value);
        if (value == NULL)
            Py_CLEAR(list);
        else
            PyList_SetItem(list, (Py_ssize_t)i, value);
    }
    return list;
}

/* --- arguments of a command line ----------------------------------------- */

/* A tuple of bytes, which outlive the array. */
static char **arguments_read(PyObject *value, int *argc)
{
    Py_ssize_t n = PyTuple_Check(value) ? PyTuple_Size(value) : 0;
    char **argv;

    if (n == 0) {
        PyErr_SetString(PyExc_TypeError, "arguments are a tuple of bytes");
        return NULL;
    }
    argv = calloc((size_t)n + 1, sizeof(*argv));
    if (argv == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *one = PyTuple_GetItem(value, i);

        /* One with a NUL in it is an error, too. */
        if (PyBytes_AsStringAndSize(one, &argv[i], NULL) != 0) {
            free(argv);
            return NULL;
        }
    }
    *argc = (int)n;
    return argv;
}

#endif
