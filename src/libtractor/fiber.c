/* SPDX-License-Identifier: Apache-2.0 */
/* A checked longjmp() takes a jump to another stack for a jump into a frame that is gone, and aborts. */
#undef _FORTIFY_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "libtractor/fiber-annotate.h"
#include "libtractor/fiber.h"

static size_t page_size(void)
{
        static size_t size;

        if (size == 0)
                size = (size_t) sysconf(_SC_PAGESIZE);
        return size;
}

static void *stack_bottom(const Fiber *f)
{
        return (char *) f->map + FIBER_GUARD;
}

static size_t stack_length(const Fiber *f)
{
        return f->map_size - FIBER_GUARD;
}

void fiber_pool_init(FiberPool *p, size_t stack_size)
{
        size_t page = page_size();

        *p = (FiberPool){ .stack_size = MAX(stack_size ?: FIBER_STACK_DEFAULT, FIBER_STACK_MIN) };
        p->stack_size = (p->stack_size + page - 1) / page * page;
        list_init(&p->kept);
}

/* The first and last function on a fiber's stack: it never returns, it is reused or unmapped. */
static void fiber_main(unsigned high, unsigned low)
{
        Fiber *f = (Fiber *) (((uintptr_t) high << 32) | (uintptr_t) low);

        const void *bottom;
        size_t size;

        annotate_arrive(NULL, &bottom, &size);
        if (sigsetjmp(f->env, 0) == 0) {
                annotate_leave(&f->fake_stack, bottom, size);
                siglongjmp(*f->primer, 1);
        }
        annotate_arrive(f->fake_stack, &f->pool->host_bottom, &f->pool->host_size);
        while (f->fn) {
                f->fn(f->arg);
                fiber_leave(f);
        }
        /* NULL: what the sanitizer keeps of this stack can go. */
        annotate_leave(NULL, f->pool->host_bottom, f->pool->host_size);
        siglongjmp(f->pool->host_env, 1);
}

/* Makes the first frame, which waits right away. It is made wherever a task is started: on another fiber as a rule. */
static int fiber_prime(Fiber *f)
{
        ucontext_t here, fiber;
        sigjmp_buf primer;

        if (getcontext(&fiber) < 0)
                return -errno;
        fiber.uc_stack.ss_sp = stack_bottom(f);
        fiber.uc_stack.ss_size = stack_length(f);
        fiber.uc_link = NULL;
        makecontext(&fiber, (void (*)(void)) fiber_main, 2, (unsigned) ((uintptr_t) f >> 32),
                        (unsigned) (uintptr_t) f);
        f->primer = &primer;
        if (sigsetjmp(primer, 0) == 0) {
                annotate_leave(&f->prime_fake_stack, stack_bottom(f), stack_length(f));
                (void) swapcontext(&here, &fiber);
        }
        annotate_arrive(f->prime_fake_stack, NULL, NULL);
        f->primer = NULL;
        return 0;
}

static Fiber *fiber_free(Fiber *f)
{
        annotate_no_stack(f->valgrind_id);
        (void) munmap(f->map, f->map_size);
        free(f);
        return NULL;
}

static int fiber_new(FiberPool *p, Fiber **ret)
{
        Fiber *f = malloc(sizeof(*f));
        int r;

        if (!f)
                return -ENOMEM;
        *f = (Fiber){ .pool = p, .map_size = p->stack_size + FIBER_GUARD };
        list_init(&f->node);
        f->map = mmap(NULL, f->map_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (f->map == MAP_FAILED) {
                free(f);
                return -EAGAIN;
        }
        f->valgrind_id = annotate_stack(stack_bottom(f), (char *) f->map + f->map_size);
        /* ENOMEM here is the number of mappings a process may have: each stack is two. */
        if (mprotect(f->map, FIBER_GUARD, PROT_NONE) < 0) {
                fiber_free(f);
                return -EAGAIN;
        }
        r = fiber_prime(f);
        if (r < 0) {
                fiber_free(f);
                return r;
        }
        *ret = f;
        return 0;
}

int fiber_get(FiberPool *p, void (*fn)(void *arg), void *arg, Fiber **ret)
{
        Fiber *f;
        int r;

        if (p->n_kept > 0) {
                f = LIST_ENTRY(p->kept.prev, Fiber, node);
                list_unlink(&f->node);
                p->n_kept--;
        } else {
                r = fiber_new(p, &f);
                if (r < 0)
                        return r;
        }
        f->fn = fn;
        f->arg = arg;
        *ret = f;
        return 0;
}

static void fiber_end(Fiber *f)
{
        f->fn = NULL;
        fiber_enter(f);
        fiber_free(f);
}

Fiber *fiber_put(Fiber *f)
{
        FiberPool *p;

        if (!f)
                return NULL;
        p = f->pool;
        if (p->n_kept >= FIBER_KEPT_MAX) {
                fiber_end(f);
                return NULL;
        }
        list_append(&p->kept, &f->node);
        p->n_kept++;
        return NULL;
}

void fiber_pool_clear(FiberPool *p)
{
        LIST_FOREACH_SAFE(i, &p->kept) {
                list_unlink(i);
                fiber_end(LIST_ENTRY(i, Fiber, node));
        }
        p->n_kept = 0;
}

void fiber_enter(Fiber *f)
{
        FiberPool *p = f->pool;

        if (sigsetjmp(p->host_env, 0) == 0) {
                annotate_leave(&p->host_fake_stack, stack_bottom(f), stack_length(f));
                siglongjmp(f->env, 1);
        }
        annotate_arrive(p->host_fake_stack, NULL, NULL);
}

void fiber_leave(Fiber *f)
{
        if (sigsetjmp(f->env, 0) == 0) {
                annotate_leave(&f->fake_stack, f->pool->host_bottom, f->pool->host_size);
                siglongjmp(f->pool->host_env, 1);
        }
        annotate_arrive(f->fake_stack, &f->pool->host_bottom, &f->pool->host_size);
}

size_t fiber_room(const Fiber *f)
{
        const char *here = __builtin_frame_address(0), *bottom = stack_bottom(f);

        return here > bottom ? (size_t) (here - bottom) : 0;
}

bool fiber_is_guard(const Fiber *f, const void *address)
{
        const char *a = address;

        return f && a >= (const char *) f->map && a < (const char *) stack_bottom(f);
}
