#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "abcdefghijklmnopqrstuvwxyz0123456789+/";

void ot_base64_add(struct ot_buffer *out, struct ot_slice bytes)
{
    for (size_t i = 0; i < bytes.n; i += 3) {
        uint32_t v = 0;
        size_t n = bytes.n - i < 3 ? bytes.n - i : 3;
        for (size_t j = 0; j < 3; j++)
            v = v << 8 | (j < n ? (unsigned char)bytes.p[i + j] : 0U);
        char four[4];
        for (size_t j = 0; j < 4; j++)
            four[j] = j <= n ? digits[v >> (18 - 6 * j) & 63] : '=';
        ot_buffer_add(out, four, sizeof four);
    }
}

static int value_of(char c)
{
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

bool ot_base64_decode(struct ot_slice text, struct ot_buffer *out)
{
    if (text.n % 4 != 0)
        return false;
    for (size_t i = 0; i < text.n; i += 4) {
        size_t n = 4;
        if (i + 4 == text.n && text.p[i + 3] == '=')
            n = text.p[i + 2] == '=' ? 2 : 3;
        uint32_t v = 0;
        for (size_t j = 0; j < 4; j++) {
            int digit = j < n ? value_of(text.p[i + j]) : 0;
            if (digit < 0)
                return false;
            v = v << 6 | (uint32_t)digit;
        }
        char three[3] = {(char)(v >> 16 & 0xff), (char)(v >> 8 & 0xff),
                         (char)(v & 0xff)};
        /* Bits beyond the last byte must be zero, or two texts would mean the
         * same bytes. */
        if ((n == 2 && (v & 0xffff) != 0) || (n == 3 && (v & 0xff) != 0))
            return false;
        ot_buffer_add(out, three, n - 1);
    }
    return true;
}
