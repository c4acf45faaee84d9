/* Preloaded into a process: writes each host name that it looks up and each connection over a network to LOOKUPS_FILE. */
#define _GNU_SOURCE
#include <arpa/inet.h>
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
    char name[INET6_ADDRSTRLEN] = "a network";
    const void *number = address->sa_family == AF_INET ? (const void *)&((const struct sockaddr_in *)address)->sin_addr
                                                       : (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr;
    if (address->sa_family == AF_INET || address->sa_family == AF_INET6)
        inet_ntop(address->sa_family, number, name, sizeof name);
    if (address->sa_family != AF_UNIX && address->sa_family != AF_UNSPEC && address->sa_family != AF_NETLINK)
        tell("connected to", name);
    return real(fd, address, length);
}
