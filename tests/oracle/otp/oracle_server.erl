%% Scenarios as lines on stdin, traces as lines on stdout, in the same order.
-module(oracle_server).
-export([main/1]).

-define(LONGEST_LINE, 16777216).

main(_Args) ->
    ok = oracle_log:install(),
    ok = oracle_clock:install(),
    persistent_term:put(oracle_restarts_field, oracle_clock:restarts_field()),
    Port = open_port({fd, 0, 1}, [binary, eof, {line, ?LONGEST_LINE}]),
    serve(Port),
    halt(0).

serve(Port) ->
    receive
        {Port, {data, {eol, Line}}} ->
            port_command(Port, [oracle_json:encode(run(oracle_json:decode(Line))), $\n]),
            serve(Port);
        {Port, eof} -> ok
    end.

%% A scenario that does not end in time, or that breaks the oracle itself, gives
%% {"id": ..., "error": ...} in place of a trace; the next one starts afresh.
run(#{<<"id">> := Id} = Scenario) ->
    Limit = maps:get(<<"deadline_ms">>, Scenario, 20000),
    {Pid, Monitor} = spawn_monitor(fun() -> exit({trace, oracle_run:trace(Scenario)}) end),
    receive
        {'DOWN', Monitor, process, Pid, {trace, Trace}} -> Trace;
        {'DOWN', Monitor, process, Pid, Reason} -> #{id => Id, error => text(Reason)}
    after Limit ->
            exit(Pid, kill),
            receive {'DOWN', Monitor, process, Pid, _} -> ok end,
            #{id => Id, error => deadline}
    end.

text(Reason) -> unicode:characters_to_binary(io_lib:format("~0tp", [Reason])).
