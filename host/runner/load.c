/* SPDX-License-Identifier: Apache-2.0 */
/* Loads one module and believes nothing of its descriptor before it was checked. */
#include "runner/load.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner/params.h"
#include "runner/protocol.h"

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int check_file(const char *path, struct error *err)
{
	unsigned char magic[SELFMAG];
	struct stat st;
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return error_set(err, ENOEXEC, "%s is not a fault plugin: it is not a regular file", path);
	}
	n = read(fd, magic, sizeof magic);
	close(fd);
	if (n != (ssize_t)sizeof magic || memcmp(magic, ELFMAG, SELFMAG) != 0)
		return error_set(err, ENOEXEC, "%s is not a fault plugin: it is not a shared module (no ELF header)",
		    base_name(path));
	return 0;
}

static int broken(struct error *err, const char *path, const char *what)
{
	return error_set(err, ENOEXEC, "%s is not a usable fault plugin: %s", base_name(path), what);
}

static int text_ok(const char *text)
{
	return text && strnlen(text, PLUGIN_TEXT_MAX + 1) <= PLUGIN_TEXT_MAX;
}

static int name_ok(const char *name)
{
	size_t size;

	if (!text_ok(name))
		return 0;
	size = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
	return size > 0 && size <= RUNNER_FAULT_ID_MAX && !name[size];
}

static int check_head(const struct tritone_fault *theirs, const char *path, struct error *err)
{
	if (!theirs)
		return broken(err, path, TRITONE_FAULT_SYMBOL "() returned no descriptor");
	if (theirs->magic != TRITONE_FAULT_MAGIC)
		return error_set(err, ENOEXEC,
		    "%s is not a fault plugin: its descriptor begins with 0x%08x, not with 0x%08x", base_name(path),
		    theirs->magic, TRITONE_FAULT_MAGIC);
	if (theirs->abi != TRITONE_FAULT_ABI)
		return error_set(err, EPROTO,
		    "%s was built for fault ABI %u, this tritone speaks ABI %u: build it again with its "
		    "tritone/fault.h",
		    base_name(path), theirs->abi, TRITONE_FAULT_ABI);
	if (theirs->struct_size < offsetof(struct tritone_fault, revert) + sizeof theirs->revert)
		return error_set(err, ENOEXEC,
		    "%s is not a usable fault plugin: its descriptor has %u bytes, ABI %u has at least %zu",
		    base_name(path), theirs->struct_size, TRITONE_FAULT_ABI,
		    offsetof(struct tritone_fault, revert) + sizeof theirs->revert);
	return 0;
}

static int check_descriptor(const struct tritone_fault *fault, const char *path, struct error *err)
{
	char what[160];

	if (!name_ok(fault->name))
		return broken(err, path, "its name must be 1 to 63 characters of a-z, 0-9 and '-'");
	if (!text_ok(fault->version) || !text_ok(fault->summary))
		return broken(err, path, "its version or summary is missing or longer than 1023 bytes");
	if (strcmp(plugin_blast_name(fault->blast), "unknown") == 0) {
		snprintf(what, sizeof what, "its blast radius 0x%x is unknown", fault->blast);
		return broken(err, path, what);
	}
	if (!fault->plan || !fault->inject || !fault->verify || !fault->revert) {
		snprintf(what, sizeof what, "it has no %s hook",
		    !fault->plan     ? "plan"
		    : !fault->inject ? "inject"
		    : !fault->verify ? "verify"
				     : "revert");
		return broken(err, path, what);
	}
	if (fault->proof_ms < 0)
		return broken(err, path, "its proof_ms is negative");
	if (params_check_table(fault->params, fault->param_count, err) < 0)
		return error_context(err, "%s is not a usable fault plugin", base_name(path));
	return 0;
}

int plugin_load(struct plugin *ret_plugin, const char *path, struct error *err)
{
	const struct tritone_fault *theirs;
	struct plugin plugin = {0};
	tritone_fault_fn descriptor;
	void *symbol;
	size_t size;

	if (check_file(path, err) < 0)
		return -1;
	plugin.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!plugin.handle)
		return error_set(err, ENOEXEC, "%s cannot be loaded: %s", base_name(path), dlerror());
	symbol = dlsym(plugin.handle, TRITONE_FAULT_SYMBOL);
	if (!symbol) {
		error_set(err, ENOEXEC, "%s is not a fault plugin: it does not export %s", base_name(path),
		    TRITONE_FAULT_SYMBOL);
		goto fail;
	}
	memcpy(&descriptor, &symbol, sizeof descriptor);
	theirs = descriptor();
	if (check_head(theirs, path, err) < 0)
		goto fail;
	size = theirs->struct_size < sizeof plugin.fault ? theirs->struct_size : sizeof plugin.fault;
	memcpy(&plugin.fault, theirs, size);
	if (check_descriptor(&plugin.fault, path, err) < 0)
		goto fail;
	*ret_plugin = plugin;
	return 0;
fail:
	dlclose(plugin.handle);
	return -1;
}

void plugin_unload(struct plugin *plugin)
{
	if (plugin->handle)
		dlclose(plugin->handle);
	memset(plugin, 0, sizeof *plugin);
}
