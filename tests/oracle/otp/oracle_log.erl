%% A logger handler that turns a supervisor's reports into events. Handlers run in
%% the process that logs, so an event is stamped where and when it happens.
-module(oracle_log).
-export([install/0, log/2]).

install() ->
    _ = logger:remove_handler(default),
    ok = logger:add_handler(oracle, ?MODULE, #{level => error}).

log(#{msg := {report, #{label := {supervisor, _Context}, report := Report}}}, _Config) ->
    [Context, Reason, Offender] =
        [proplists:get_value(Key, Report) || Key <- [errorContext, reason, offender]],
    oracle_child:report(Context, proplists:get_value(id, Offender), Reason);
log(#{msg := {"Supervisor received unexpected message" ++ _, _Args}}, _Config) ->
    oracle_child:report(unexpected_message, undefined, undefined);
log(_Event, _Config) -> ok.
