/* SPDX-License-Identifier: Apache-2.0 */
#include "libtractor/crash-note.h"

static const struct {
        int signo;
        const char *name;
} signals[] = {
        { SIGSEGV, "SIGSEGV" },
        { SIGBUS, "SIGBUS" },
        { SIGFPE, "SIGFPE" },
        { SIGILL, "SIGILL" },
        { SIGABRT, "SIGABRT" },
        { SIGSYS, "SIGSYS" },
        { SIGTRAP, "SIGTRAP" },
};

const char *crash_signal_name(int signo)
{
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                if (signals[i].signo == signo)
                        return signals[i].name;
        return NULL;
}

static void put_byte(CrashText *t, char c)
{
        if (t->n + 1 >= t->size)
                return;
        t->p[t->n++] = c;
        t->p[t->n] = 0;
}

void crash_put(CrashText *t, const char *s)
{
        for (; *s; s++)
                put_byte(t, *s);
}

void crash_put_number(CrashText *t, uint64_t v, unsigned base)
{
        char digits[64];
        size_t n = 0;

        do
                digits[n++] = "0123456789abcdef"[v % base];
        while ((v /= base) > 0);
        if (base == 16)
                crash_put(t, "0x");
        while (n > 0)
                put_byte(t, digits[--n]);
}

void crash_put_quoted(CrashText *t, const char *s)
{
        for (; *s; s++) {
                if (*s == '"' || *s == '\\')
                        put_byte(t, '\\');
                put_byte(t, *s >= ' ' && *s < 0x7f ? *s : '?');
        }
}

static void put_signal(CrashText *t, int signo)
{
        const char *name = crash_signal_name(signo);

        if (name) {
                crash_put(t, name);
                return;
        }
        crash_put(t, "signal ");
        crash_put_number(t, (uint64_t) signo, 10);
}

static const char *reason(int signo, int code)
{
        switch (signo) {
        case SIGSEGV:
                return code == SEGV_MAPERR   ? "nothing is mapped there"
                       : code == SEGV_ACCERR ? "such access is not allowed there"
                                             : NULL;
        case SIGBUS:
                return code == BUS_ADRALN   ? "the address is not aligned"
                       : code == BUS_ADRERR ? "beyond the end of what is mapped there"
                                            : NULL;
        case SIGFPE:
                return code == FPE_INTDIV ? "an integer is divided by zero" : NULL;
        case SIGILL:
                return code == ILL_ILLOPN || code == ILL_ILLOPC ? "not an instruction" : NULL;
        default:
                return NULL;
        }
}

void crash_note_describe(CrashNote *note, const siginfo_t *si)
{
        CrashText t = { note->message, 0, sizeof(note->message) };
        const char *why = si->si_code > 0 ? reason(note->signo, si->si_code) : NULL;

        put_signal(&t, note->signo);
        if (note->has_address) {
                crash_put(&t, " at ");
                crash_put_number(&t, note->address, 16);
        }
        if (why) {
                crash_put(&t, ": ");
                crash_put(&t, why);
        } else if (si->si_code <= 0 && si->si_pid != note->pid) {
                crash_put(&t, " sent by process ");
                crash_put_number(&t, (uint64_t) si->si_pid, 10);
        } else if (note->signo == SIGSYS) {
                crash_put(&t, ": system call ");
                crash_put_number(&t, (uint64_t) si->si_syscall, 10);
                crash_put(&t, " is not allowed");
        }
        if (note->task[0]) {
                crash_put(&t, ", in task ");
                crash_put(&t, note->task);
        }
}

void crash_note_line(const CrashNote *note, CrashText *t)
{
        crash_put(t, "\n{\"jsonrpc\":\"2.0\",\"method\":\"$/crash\",\"params\":{\"signal\":\"");
        put_signal(t, note->signo);
        if (note->has_address) {
                crash_put(t, "\",\"address\":\"");
                crash_put_number(t, note->address, 16);
        }
        if (note->task[0]) {
                crash_put(t, "\",\"task\":\"");
                crash_put_quoted(t, note->task);
        }
        crash_put(t, "\",\"message\":\"");
        crash_put_quoted(t, note->message);
        crash_put(t, "\",\"backtrace\":[]}}\n");
}

void crash_note_text(const CrashNote *note, CrashText *t)
{
        crash_put(t, "tractor: process ");
        crash_put_number(t, (uint64_t) note->pid, 10);
        crash_put(t, " has crashed: ");
        crash_put(t, note->message);
        crash_put(t, "\n");
}
