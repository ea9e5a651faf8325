/*
 * The watch's connections: each rank to rank 0, by TCP.
 *
 * Rank 0 listens on a free port and tells the others, by MPI, all addresses that it has. They try
 * one after the other, those of its own host by the loopback interface, and know by a token whether
 * it is rank 0 that answers: private addresses such as those of containers exist on many hosts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "lamina/clock.h"
#include "lamina/hash.h"
#include "watch_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ADDRESSES_MAX = 32 };

static const double TRY_S = 2.0;      /* for one address */
static const double ALL_THERE_S = 30; /* for all ranks */

/* Where rank 0 is to be found. */
typedef struct invitation {
    uint64_t token;
    int32_t n_addresses;
    uint16_t port; /* as in the address of a socket */
    uint16_t reserved;
    struct in_addr addresses[ADDRESSES_MAX];
} invitation;

void lmn__line_close(lmn__line *line)
{
    if (line->fd >= 0) {
        (void)close(line->fd);
        line->fd = -1;
    }
    line->n_read = 0;
}

void lmn__line_send(lmn__line *line, const lmn__letter *letter)
{
    if (line->fd >= 0 && send(line->fd, letter, sizeof *letter, MSG_DONTWAIT | MSG_NOSIGNAL) !=
                             (ssize_t)sizeof *letter) {
        lmn__line_close(line);
    }
}

bool lmn__line_receive(lmn__line *line)
{
    while (line->fd >= 0) {
        char *to = (char *)&line->incoming + line->n_read;
        const ssize_t got = recv(line->fd, to, sizeof line->incoming - line->n_read, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return false;
        }
        if (got <= 0) {
            lmn__line_close(line);
            return false;
        }
        line->n_read += (size_t)got;
        if (line->n_read == sizeof line->incoming) {
            line->n_read = 0;
            line->incoming.text[LMN__WATCH_TEXT_BYTES - 1] = '\0';
            return true;
        }
    }
    return false;
}

/* Wait for something to happen on a socket; false when the time is over. */
static bool wait_for(int fd, short events, double until)
{
    struct pollfd one = {.fd = fd, .events = events};
    double left = until - lmn_clock_seconds();
    while (left > 0.0) {
        if (poll(&one, 1, 1 + (int)(left * 1e3)) > 0) {
            return true;
        }
        left = until - lmn_clock_seconds();
    }
    return false;
}

/* A greeting with the right token. */
static bool receive_hello(lmn__line *line, uint64_t token, double until)
{
    while (line->fd >= 0 && wait_for(line->fd, POLLIN, until)) {
        if (lmn__line_receive(line)) {
            return line->incoming.kind == LMN__LETTER_HELLO && line->incoming.token == token;
        }
    }
    return false;
}

/* ---- rank 0 ---- */

static lmn_status system_error(lmn_error *err, const char *what)
{
    const int code = errno;
    char reason[128] = "";
    (void)strerror_r(code, reason, sizeof reason);
    return lmn_error_set(err, LMN_ERR_COMM, "cannot watch the ranks: %s: %s", what, reason);
}

static lmn_status listen_anywhere(int n_ranks, int *fd_out, uint16_t *port_out, lmn_error *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_ANY)}};
    socklen_t bytes = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, bytes) != 0 ||
        listen(fd, n_ranks) != 0 || getsockname(fd, (struct sockaddr *)&address, &bytes) != 0) {
        const lmn_status status = system_error(err, "cannot listen on a TCP port");
        if (fd >= 0) {
            (void)close(fd);
        }
        return status;
    }
    *fd_out = fd;
    *port_out = address.sin_port;
    return LMN_OK;
}

static void list_addresses(invitation *to)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0) {
        return;
    }
    for (const struct ifaddrs *at = all; at != NULL && to->n_addresses < ADDRESSES_MAX;
         at = at->ifa_next) {
        struct sockaddr_in address;
        if (at->ifa_addr == NULL || at->ifa_addr->sa_family != AF_INET) {
            continue;
        }
        memcpy(&address, at->ifa_addr, sizeof address);
        if (ntohl(address.sin_addr.s_addr) >> IN_CLASSA_NSHIFT != IN_LOOPBACKNET) {
            to->addresses[to->n_addresses++] = address.sin_addr;
        }
    }
    freeifaddrs(all);
}

/* Take in one connection; whether it was one of the ranks. */
static bool greet(int listener, lmn__line *lines, int size, uint64_t token)
{
    lmn__line line = {.fd = accept(listener, NULL, NULL)};
    if (line.fd < 0) {
        return false;
    }
    (void)fcntl(line.fd, F_SETFD, FD_CLOEXEC);
    if (receive_hello(&line, token, lmn_clock_seconds() + TRY_S)) {
        const int rank = line.incoming.rank;
        if (rank > 0 && rank < size && lines[rank].fd < 0) {
            const lmn__letter answer = {.token = token, .kind = LMN__LETTER_HELLO};
            lmn__line_send(&line, &answer);
            lines[rank].fd = line.fd;
            return line.fd >= 0;
        }
    }
    lmn__line_close(&line);
    return false;
}

static lmn_status greet_all(int listener, lmn__line *lines, int size, uint64_t token,
                            lmn_error *err)
{
    const double until = lmn_clock_seconds() + ALL_THERE_S;
    int missing = size - 1;
    while (missing > 0 && wait_for(listener, POLLIN, until)) {
        missing -= greet(listener, lines, size, token) ? 1 : 0;
    }
    return missing == 0 ? LMN_OK
                        : lmn_error_set(err, LMN_ERR_COMM,
                                        "cannot watch the ranks: %d of them did not connect to "
                                        "rank 0 by TCP within %.0f s; let no firewall stand "
                                        "between the hosts, or do without --stall-timeout",
                                        missing, ALL_THERE_S);
}

/* ---- the other ranks ---- */

/* A connection that is there, or -1. */
static int try_address(struct in_addr where, uint16_t port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = port, .sin_addr = where};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    int error = 0;
    socklen_t bytes = sizeof error;
    const bool is_begun =
        connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS;
    if (is_begun && wait_for(fd, POLLOUT, lmn_clock_seconds() + TRY_S) &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 && error == 0) {
        return fd;
    }
    (void)close(fd);
    return -1;
}

static bool try_hello(lmn__line *line, int rank, struct in_addr where, const invitation *to)
{
    const lmn__letter hello = {.token = to->token, .kind = LMN__LETTER_HELLO, .rank = rank};
    line->fd = try_address(where, to->port);
    lmn__line_send(line, &hello);
    /* Rank 0 takes in one rank after the other. */
    if (receive_hello(line, to->token, lmn_clock_seconds() + ALL_THERE_S)) {
        return true;
    }
    lmn__line_close(line);
    return false;
}

static lmn_status call_rank_0(const lmn_world *world, lmn__line *line, const invitation *to,
                              lmn_error *err)
{
    const struct in_addr loopback = {.s_addr = htonl(INADDR_LOOPBACK)};
    if (world->placement.node == 0 && try_hello(line, world->rank, loopback, to)) {
        return LMN_OK;
    }
    for (int i = 0; i < to->n_addresses; i++) {
        if (try_hello(line, world->rank, to->addresses[i], to)) {
            return LMN_OK;
        }
    }
    return lmn_error_set(err, LMN_ERR_COMM,
                         "cannot watch the ranks: rank %d on %s reaches rank 0 at none of its %d "
                         "addresses by TCP port %d; let no firewall stand between the hosts, or do "
                         "without --stall-timeout",
                         world->rank, world->placement.host, to->n_addresses, ntohs(to->port));
}

/* Unlikely to be met by chance: from time, process and port. */
static uint64_t make_token(uint16_t port)
{
    const struct {
        double now;
        int64_t pid;
        uint64_t port;
    } seed = {lmn_clock_seconds(), (int64_t)getpid(), port};
    return lmn_hash64(&seed, sizeof seed, 0);
}

lmn_status lmn__lines_connect(lmn_world *world, lmn__line *lines, uint64_t *token_out,
                              lmn_error *err)
{
    invitation to = {.n_addresses = 0};
    int listener = -1;
    lmn_status status = LMN_OK;
    if (world->rank == 0) {
        status = listen_anywhere(world->size, &listener, &to.port, err);
        list_addresses(&to);
        to.token = make_token(to.port);
    }
    status = lmn_agree(world, status, err);
    if (status == LMN_OK) {
        status = lmn_world_broadcast(world, &to, sizeof to, 0, err);
    }
    if (status == LMN_OK) {
        status = world->rank == 0 ? greet_all(listener, lines, world->size, to.token, err)
                                  : call_rank_0(world, lines, &to, err);
        status = lmn_agree(world, status, err);
    }
    if (listener >= 0) {
        (void)close(listener);
    }
    *token_out = to.token;
    return status;
}
