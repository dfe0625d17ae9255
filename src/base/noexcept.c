#include "base/noexcept.h"

#include <stdint.h>
#include <unwind.h>

/* Only named by assembly. In librota-tls and librota-http, which are linked on their own, there is
 * another one. */
__attribute__((used, visibility("hidden"))) _Unwind_Reason_Code
rota__noexcept_personality(int version, _Unwind_Action actions, uint64_t language,
                           struct _Unwind_Exception *exception, struct _Unwind_Context *context);

/* The end of the search is what a runtime finds too where no handler is left: it calls
 * std::terminate. Unwinding without a search, by pthread_exit and pthread_cancel, passes. */
_Unwind_Reason_Code rota__noexcept_personality(int version, _Unwind_Action actions,
                                               uint64_t language,
                                               struct _Unwind_Exception *exception,
                                               struct _Unwind_Context *context)
{
    (void)version;
    (void)language;
    (void)exception;
    (void)context;
    return actions & _UA_SEARCH_PHASE ? _URC_FATAL_PHASE1_ERROR : _URC_CONTINUE_UNWIND;
}
