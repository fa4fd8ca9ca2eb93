"""A Compose file's words made true on one machine: names and ports of peers, paths inside the service. Plain.

    http://user-service:8000/health   →  http://127.0.0.1:20417/health
    postgresql://shop:shop@db/shop    →  postgresql://shop:shop@127.0.0.1:23001/shop
    /results/junit.xml                →  <private folder>/volumes/results/junit.xml

The rules are in ``docs/environments.md``. Rewriting what is rewritten changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
SELF = r"localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\]"
HOST_VARIABLE = re.compile(r"(?P<prefix>.*)(?:HOST|HOSTNAME|SERVER|ADDRESS)")
PORT_OPTION = r"(--?(?:port|bind-port|listen-port|http-port|p)[ =])"
DEFAULT_PORTS = {
    "http": 80,
    "https": 443,
    "postgres": 5432,
    "postgresql": 5432,
    "redis": 6379,
    "valkey": 6379,
    "mysql": 3306,
    "mongodb": 27017,
    "amqp": 5672,
}


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What a service's words are made true with."""

    #: ``name:port`` of every service of the environment → port on this machine.
    addresses: Mapping[str, int]
    #: The service's own container ports → ports on this machine, the main one first.
    own_ports: Mapping[str, int]
    #: Absolute path in the service → path on this machine.
    paths: Mapping[str, str]

    def text(self, text: str) -> str:
        """A text with addresses and paths made true."""
        text = self._own_addresses(text)
        text = self._peers_with_port(text)
        text = self._peers_in_urls(text)
        return self.path(text)

    def words(self, words: Sequence[str]) -> list[str]:
        """A command; a word that is the service's own port, or an option with it, counts too."""
        return [self._own_port_options(self.own_ports_or(word, self.text(word))) for word in words]

    def own_ports_or(self, word: str, otherwise: str) -> str:
        """The machine's port for a word that is a container port of the service."""
        return str(self.own_ports[word]) if word in self.own_ports else otherwise

    def variables(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Environment variables; a bare name in ``…HOST`` takes its ``…PORT`` along."""
        done = {name: self.text(value) for name, value in variables.items()}
        for name, value in variables.items():
            if name.endswith("PORT") and value in self.own_ports:
                done[name] = str(self.own_ports[value])
            elif value == "0.0.0.0" and HOST_VARIABLE.fullmatch(name):  # noqa: S104 - the opposite of binding to it
                done[name] = LOOPBACK
        # Last: what a name says about its port outweighs that the number is also one of our own.
        for name, value in variables.items():
            if (match := HOST_VARIABLE.fullmatch(name)) and (ports := self._ports_of(value)):
                port_name = f"{match['prefix']}PORT"
                port = ports.get(variables.get(port_name, ""), next(iter(ports.values())))
                done |= {name: LOOPBACK, port_name: str(port)}
        return done

    def path(self, text: str) -> str:
        """A text whose paths inside the service are paths on this machine."""
        if not self.paths:
            return text
        starts = "|".join(re.escape(path) for path in sorted(self.paths, key=len, reverse=True))
        # Already rewritten text begins with a path of this machine: it is passed over whole.
        ends = "|".join(re.escape(path) for path in sorted(set(self.paths.values()), key=len, reverse=True))
        pattern = rf"(?<![\w./~-])(?:(?P<done>{ends})|(?P<path>{starts}))(?![\w.-])"
        return re.sub(pattern, lambda match: match["done"] or self.paths[match["path"]], text)

    def _own_addresses(self, text: str) -> str:
        def own(match: re.Match[str]) -> str:
            port = self.own_ports.get(match["port"])
            return f"{LOOPBACK}:{port}" if port else match[0]

        return re.sub(rf"(?<![\w.-])(?:{SELF}):(?P<port>\d+)(?![\w@])", own, text)

    def _own_port_options(self, text: str) -> str:
        def option(match: re.Match[str]) -> str:
            return match[1] + self.own_ports_or(match[2], match[2])

        return re.sub(rf"(?<!\S){PORT_OPTION}(\d+)\b", option, text) if self.own_ports else text

    def _peers_with_port(self, text: str) -> str:
        def peer(match: re.Match[str]) -> str:
            port = self.addresses.get(match[0])
            return f"{LOOPBACK}:{port}" if port else match[0]

        # Not before an @: that is a user and a password.
        return re.sub(r"(?<![\w.-])[A-Za-z0-9_][\w.-]*:\d+(?![\w@])", peer, text)

    def _peers_in_urls(self, text: str) -> str:
        def peer(match: re.Match[str]) -> str:
            ports = self._ports_of(match["name"])
            usual = str(DEFAULT_PORTS.get(match["scheme"].split("+")[0], 0))
            if re.fullmatch(SELF, match["name"]) and usual in self.own_ports:
                return f"{match['before']}{LOOPBACK}:{self.own_ports[usual]}"
            if not ports:
                return match[0]
            return f"{match['before']}{LOOPBACK}:{ports.get(usual, next(iter(ports.values())))}"

        pattern = (
            r"(?P<before>\b(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[^\s/@\"']*@)?)"
            r"(?P<name>[A-Za-z0-9_](?:[\w.-]*\w)?)(?![\w:@-]|\.\w)"
        )
        return re.sub(pattern, peer, text)

    def _ports_of(self, name: str) -> dict[str, int]:
        """Container port → port of the service that goes by the name; empty for a stranger."""
        return {
            address.rpartition(":")[2]: port
            for address, port in self.addresses.items()
            if address.rpartition(":")[0] == name
        }
