"""Erlang/OTP: a real `supervisor`, each child a process that owns a port to the program."""

from __future__ import annotations

import json
import subprocess

from benchmarks.peers.base import Peer, PeerFailed

__all__ = ["OtpPort"]

_MODULE = """
-module(ports).
-behaviour(supervisor).
-export([main/1, start_link/1, start_child/1, init/1]).

main([Count | Command]) ->
    {ok, _} = start_link({list_to_integer(Count), Command}),
    receive never -> ok end.

start_link(Arg) -> supervisor:start_link(?MODULE, Arg).

init({Count, Command}) ->
    Flags = #{strategy => one_for_one, intensity => 1000000, period => 1},
    Start = {?MODULE, start_child, [Command]},
    {ok, {Flags, [#{id => N, start => Start} || N <- lists:seq(1, Count)]}}.

start_child(Command) -> {ok, spawn_link(fun() -> own(Command) end)}.

own([Program | Args]) ->
    Port = open_port({spawn_executable, Program}, [{args, Args}, exit_status, binary]),
    receive {Port, {exit_status, Status}} -> exit({status, Status}) end.
"""


class OtpPort(Peer):
    """The VM is told of an end by the helper that all of its ports are forked from."""

    name = "OTP port program"
    programs = ("erl", "erlc")

    def start(self) -> None:
        (self.directory / "ports.erl").write_text(_MODULE, encoding="utf-8")
        built = subprocess.run(
            ["erlc", "ports.erl"], cwd=self.directory, capture_output=True, timeout=60, check=False
        )
        if built.returncode:
            raise PeerFailed(f"erlc: {built.stdout.decode(errors='replace')}")
        words = ", ".join(json.dumps(word) for word in [str(self.count), *self.command])
        start = f"ports:main([{words}])."
        self.run(["erl", "-noinput", "-noshell", "-pa", str(self.directory), "-eval", start])
