/* base64.h - bytes in JSON. [RFC 4648, section 4] */
#ifndef OT_BASE64_H
#define OT_BASE64_H

#include "base/base.h"

void ot_base64_add(struct ot_buffer *out, struct ot_slice bytes);
/* Appends the bytes of text; false if it is not base64 with its padding. */
bool ot_base64_decode(struct ot_slice text, struct ot_buffer *out);

#endif
