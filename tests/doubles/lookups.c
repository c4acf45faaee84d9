/* Preloaded into a process: writes each host name that it looks up and each connection over a network to LOOKUPS_FILE. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static void tell(const char *what, const char *whom) {
    FILE *file = fopen(getenv("LOOKUPS_FILE"), "a");
    if (file) { fprintf(file, "%s %s\n", what, whom); fclose(file); }
}
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        dlsym(RTLD_NEXT, "getaddrinfo");
    tell("looked up", node ? node : "-");
    return real(node, service, hints, res);
}
int connect(int fd, const struct sockaddr *address, socklen_t length) {
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    if (address->sa_family != AF_UNIX) tell("connected", "to a network");
    return real(fd, address, length);
}
