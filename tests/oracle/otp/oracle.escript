#!/usr/bin/env escript
%%! +S 1:1 +SDio 1 -noinput -kernel logger_level error
%% The live oracle: runs scenarios (JSON lines on stdin) through stdlib's own
%% supervisor and writes one trace per line to stdout. It is run by
%% tests/oracle/otp_live.py.
%%
%% One scheduler on purpose: processes that OTP runs concurrently then take
%% turns, and a message has arrived as soon as it has been sent.
-mode(compile).

-define(MODULES, [oracle_json, oracle_terms, oracle_log, oracle_child, oracle_items,
                  oracle_order, oracle_clock, oracle_run, oracle_server]).

main(Args) ->
    Dir = filename:dirname(filename:absname(escript:script_name())),
    lists:foreach(fun(Module) -> load(Dir, Module) end, ?MODULES),
    oracle_server:main(Args).

load(Dir, Module) ->
    Source = filename:join(Dir, atom_to_list(Module)),
    case compile:file(Source, [binary, return_errors, warnings_as_errors, report]) of
        {ok, Module, Code} ->
            {module, Module} = code:load_binary(Module, Source ++ ".erl", Code);
        Failed ->
            io:format(standard_error, "cannot compile ~s: ~p~n", [Source, Failed]),
            halt(2)
    end.
