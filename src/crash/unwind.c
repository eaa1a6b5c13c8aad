/* SPDX-License-Identifier: Apache-2.0 */
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <stdio.h>
#include <sys/ptrace.h>

#include "crash/crash.h"

typedef struct Frame {
        Dwarf_Addr pc;
        bool activation; /* pc is where it is, not where it will go on */
} Frame;

typedef struct Walk {
        Frame frames[CRASH_FRAMES_MAX + 32]; /* with those of the handler, on the crashed thread */
        size_t n;
} Walk;

static int on_frame(Dwfl_Frame *state, void *userdata)
{
        Walk *w = userdata;
        Frame *f = &w->frames[w->n];

        if (!dwfl_frame_pc(state, &f->pc, &f->activation))
                return DWARF_CB_ABORT;
        w->n++;
        return w->n < ELEMENTSOF(w->frames) ? DWARF_CB_OK : DWARF_CB_ABORT;
}

/* The handler and what the kernel put below it are not what crashed. Where that frame was not found, the kernel's own word
 * is all there is. */
static void skip_handler(const CrashProcess *p, Walk *w)
{
        size_t i = 1;

        if (!p->note.has_registers)
                return;
        for (; i < w->n && w->frames[i].pc != p->note.pc; i++)
                ;
        if (i < w->n) {
                memmove(w->frames, w->frames + i, (w->n - i) * sizeof(Frame));
                w->n -= i;
        } else {
                w->n = 1;
        }
        w->frames[0] = (Frame){ p->note.pc, true };
}

/* Whoever calls through a bad pointer has just pushed where it is. */
static void find_caller(const CrashProcess *p, Dwfl *dwfl, Walk *w)
{
#if defined(__x86_64__)
        long word;

        if (!p->note.has_registers || w->n != 1 || dwfl_addrmodule(dwfl, p->note.pc))
                return;
        errno = 0;
        word = ptrace(PTRACE_PEEKDATA, p->note.tid, (void *) (uintptr_t) p->note.sp, NULL);
        if (errno == 0 && dwfl_addrmodule(dwfl, (Dwarf_Addr) word))
                w->frames[w->n++] = (Frame){ (Dwarf_Addr) word, false };
#endif
}

static const char *base_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

/* clang writes no table of which unit an address is in: each is asked. */
static const char *search_units(const CrashProcess *p, Dwfl_Module *module, Dwarf_Addr pc, int *ret_line)
{
        Dwarf_Addr bias;

        for (Dwarf_Die *unit = NULL; crash_elapsed_ms(p) < CRASH_LINES_MS &&
                                     (unit = dwfl_module_nextcu(module, unit, &bias));) {
                Dwarf_Line *line;

                if (dwarf_haspc(unit, pc - bias) <= 0)
                        continue;
                line = dwarf_getsrc_die(unit, pc - bias);
                return line && dwarf_lineno(line, ret_line) == 0 ? dwarf_linesrc(line, NULL, NULL) : NULL;
        }
        return NULL;
}

static const char *find_line(const CrashProcess *p, Dwfl_Module *module, Dwarf_Addr pc, int *ret_line)
{
        Dwfl_Line *line;

        if (crash_elapsed_ms(p) >= CRASH_LINES_MS)
                return NULL;
        line = dwfl_module_getsrc(module, pc);
        return line ? dwfl_lineinfo(line, NULL, ret_line, NULL, NULL, NULL)
                    : search_units(p, module, pc, ret_line);
}

/* "name (file.c:12)", "name+0x5 (libx.so+0x1234)", "libx.so+0x1234", "0x7f…" */
static void print_frame(const CrashProcess *p, Dwfl *dwfl, const Frame *f, char buf[static CRASH_FRAME_SIZE])
{
        Dwarf_Addr pc = f->pc - (f->activation ? 0 : 1), start = 0;
        Dwfl_Module *module = dwfl_addrmodule(dwfl, pc);
        const char *file, *name, *where;
        GElf_Off offset = 0;
        GElf_Sym sym;
        int n = 0;

        if (!module) {
                (void) snprintf(buf, CRASH_FRAME_SIZE, "0x%llx", (unsigned long long) f->pc);
                return;
        }
        name = dwfl_module_addrinfo(module, pc, &offset, &sym, NULL, NULL, NULL);
        file = find_line(p, module, pc, &n);
        where = base_name(dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, NULL, NULL) ?: "?");
        if (name && file)
                (void) snprintf(buf, CRASH_FRAME_SIZE, "%.150s (%.80s:%d)", name, base_name(file), n);
        else if (name)
                (void) snprintf(buf, CRASH_FRAME_SIZE, "%.120s+0x%llx (%.80s+0x%llx)", name,
                                (unsigned long long) offset, where, (unsigned long long) (pc - start));
        else
                (void) snprintf(buf, CRASH_FRAME_SIZE, "%.150s+0x%llx", where,
                                (unsigned long long) (pc - start));
}

static int take_frames(CrashProcess *p, Dwfl *dwfl, const Walk *w, CrashThread *t)
{
        for (size_t i = 0; i < w->n && i < CRASH_FRAMES_MAX; i++) {
                char place[CRASH_FRAME_SIZE], text[CRASH_FRAME_SIZE + 8];
                int n, r;

                print_frame(p, dwfl, &w->frames[i], place);
                n = snprintf(text, sizeof(text), "#%zu %s", i, place);
                p->text += (size_t) n;
                if (p->text > CRASH_TEXT_MAX)
                        return -E2BIG;
                r = strv_append(&t->frames, text);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int walk_thread(CrashProcess *p, Dwfl *dwfl, CrashThread *t)
{
        Walk w = { .n = 0 };

        (void) dwfl_getthread_frames(dwfl, t->tid, on_frame, &w);
        if (t == p->threads) {
                skip_handler(p, &w);
                find_caller(p, dwfl, &w);
        }
        return take_frames(p, dwfl, &w, t);
}

static int walk_all(CrashProcess *p, Dwfl *dwfl)
{
        size_t values = 0;

        for (size_t i = 0; i < p->n_threads; i++) {
                CrashThread *t = &p->threads[i];
                int r = 0;

                if (t->stopped)
                        r = walk_thread(p, dwfl, t);
                values += strv_length(t->frames) + 4;
                if (r < 0 || values > CRASH_VALUES_MAX || crash_elapsed_ms(p) > CRASH_THREADS_MS) {
                        p->unseen += p->n_threads - i - 1;
                        p->n_threads = i + 1;
                        return r;
                }
        }
        return 0;
}

int crash_unwind(CrashProcess *p)
{
        static char *paths; /* the default ones */
        static const Dwfl_Callbacks callbacks = {
                .find_elf = dwfl_linux_proc_find_elf,
                .find_debuginfo = dwfl_standard_find_debuginfo,
                .debuginfo_path = &paths,
        };
        Dwfl *dwfl = dwfl_begin(&callbacks);
        int r = -EIO;

        if (!dwfl)
                return -ENOMEM;
        if (dwfl_linux_proc_report(dwfl, p->note.pid) == 0 && dwfl_report_end(dwfl, NULL, NULL) == 0 &&
                        dwfl_linux_proc_attach(dwfl, p->note.pid, true) == 0)
                r = walk_all(p, dwfl);
        dwfl_end(dwfl);
        return r;
}
