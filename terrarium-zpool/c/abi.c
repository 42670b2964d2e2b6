/*
 * Is the library that was found at run time the one whose headers this was compiled with?
 *
 * The name of the library does not tell: 2.1 and 2.2 have the same soname and structures of
 * different layout. Its list of pool features does, since every release adds some.
 */
#include "engine.h"

#include <dlfcn.h>
#include <link.h>
#include <zfeature_common.h>

/* Of those who know these headers. A newer one has to be tried first; see build.rs. */
_Static_assert(SPA_FEATURES == 34, "these are not the headers of OpenZFS 2.1");

static const void *
symbol(const char *name, size_t *size)
{
	const void *address = dlsym(RTLD_DEFAULT, name);
	Dl_info info;
	const ElfW(Sym) *entry = NULL;

	if (address == NULL || dladdr1(address, &info, (void **)&entry, RTLD_DL_SYMENT) == 0 ||
	    entry == NULL)
		return (NULL);
	*size = entry->st_size;
	return (address);
}

int
abi_check(char *why, size_t size)
{
	size_t found = 0;

	if (symbol("spa_feature_table", &found) == NULL) {
		(void) snprintf(why, size, "libzpool does not tell its features");
		return (ENOTSUP);
	}
	if (found != SPA_FEATURES * sizeof (zfeature_info_t)) {
		(void) snprintf(why, size,
		    "libzpool is of another version than the 2.1 that this was compiled for");
		return (ENOTSUP);
	}
	if (symbol("reference_tracking_enable", &found) == NULL) {
		(void) snprintf(why, size, "libzpool was compiled without ZFS_DEBUG, unlike this");
		return (ENOTSUP);
	}
	return (0);
}
