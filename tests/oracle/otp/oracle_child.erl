%% What supervisors call: init, the start functions, and the worker process.
%% All of it runs in the supervisor that starts the child, as in any OTP system.
-module(oracle_child).
-behaviour(supervisor).
-export([init/1, start_root/2, child/3, instance/4, report/3, world/0, identity/0]).

%% The world of the scenario that the calling supervisor belongs to, or undefined.
world() -> get(oracle_world).

%% {Path, Incarnation} of the calling supervisor.
identity() -> get(oracle_identity).

report(Context, Id, Reason) ->
    case world() of
        undefined -> ok;
        World ->
            {Path, Incarnation} = identity(),
            oracle_run:event(World, {report, Path, Incarnation, Context, Id, Reason})
    end.

init({World, Path, Parent, Sup}) ->
    case world() of
        undefined ->
            put(oracle_world, World),
            Incarnation = oracle_run:born(World, Path, Parent, supervisor, self()),
            put(oracle_identity, {Path, Incarnation}),
            oracle_run:event(World, {init, Path, Incarnation});
        World -> upgrade
    end,
    case oracle_run:definition(World, Path, Sup) of
        <<"ignore">> -> ignore;
        Current ->
            {ok, {oracle_terms:flags(Current), oracle_terms:child_specs(World, Path, Current)}}
    end.

start_root(World, Sup) ->
    supervisor:start_link(?MODULE, {World, <<"root">>, none, Sup}).

%% The start function of a child that a specification names.
child(World, Above, Node) ->
    Path = <<Above/binary, "/", (maps:get(<<"id">>, Node))/binary>>,
    start(World, Path, Node, maps:get(<<"plan">>, Node, [])).

%% The start function of a child of simple_one_for_one.
instance(World, Above, Template, Name) ->
    Path = <<Above/binary, "/", Name/binary>>,
    start(World, Path, Template, maps:get(Name, maps:get(<<"plans">>, Template, #{}), [])).

start(World, Path, Node, Plan) ->
    Attempt = oracle_run:attempt(World, Path),
    Booting = oracle_run:is_booting(World, identity()),
    oracle_items:hook(World, Path, Attempt, Booting),
    Outcome = if Attempt =< length(Plan) -> lists:nth(Attempt, Plan); true -> <<"ok">> end,
    carry_out(Outcome, World, Path, Attempt, Node).

carry_out(<<"error">>, World, Path, Attempt, _Node) ->
    oracle_run:event(World, {fail, Path, Attempt, planned_error}),
    {error, planned_error};
carry_out(<<"crash">>, World, Path, Attempt, _Node) ->
    oracle_run:event(World, {fail, Path, Attempt, planned_crash}),
    erlang:error(planned_crash);
carry_out(<<"ignore">>, World, Path, Attempt, _Node) ->
    oracle_run:event(World, {ignore, Path, Attempt}),
    ignore;
carry_out(Outcome, World, Path, Attempt, Node) ->
    case launch(World, Path, Node) of
        {ok, Pid, Incarnation} ->
            oracle_run:event(World, {start, Path, Incarnation}),
            if Outcome =:= <<"extra">> -> {ok, Pid, extra}; true -> {ok, Pid} end;
        {error, Reason} ->
            oracle_run:event(World, {fail, Path, Attempt, Reason}),
            {error, Reason}
    end.

launch(World, Path, #{<<"sup">> := Sup}) ->
    case supervisor:start_link(?MODULE, {World, Path, identity(), Sup}) of
        {ok, Pid} ->
            {Path, Incarnation} = oracle_run:identity(World, Pid),
            oracle_run:booted(World, {Path, Incarnation}),
            {ok, Pid, Incarnation};
        {error, Reason} ->
            await_end(oracle_run:newest(World, Path)),
            {error, Reason}
    end;
launch(World, Path, Node) ->
    OnStop = maps:get(<<"on_stop">>, Node, <<"shutdown">>),
    Pid = spawn_link(fun() -> worker_starts(World, OnStop) end),
    Incarnation = oracle_run:born(World, Path, identity(), worker, Pid),
    Pid ! {you_are, self(), {Path, Incarnation}},
    receive {Pid, trapping} -> {ok, Pid, Incarnation} end.

%% Before OTP 26 start_link returns while the failed process is still ending. The order
%% of the two is then left to chance, so the end comes first here, as it does since 26.
await_end({Pid, supervisor, _Parent}) ->
    Monitor = monitor(process, Pid),
    receive {'DOWN', Monitor, process, Pid, _Reason} -> ok end.

worker_starts(World, OnStop) ->
    process_flag(trap_exit, true),
    receive
        {you_are, Supervisor, Identity} ->
            Supervisor ! {self(), trapping},
            worker(World, OnStop, Supervisor, Identity)
    end.

worker(World, OnStop, Supervisor, {Path, Incarnation} = Identity) ->
    receive
        {leave, Reason} -> exit(Reason);
        {'EXIT', Supervisor, Reason} ->
            oracle_run:event(World, {sig, Path, Incarnation, Reason}),
            obey(OnStop, Reason),
            worker(World, OnStop, Supervisor, Identity)
    end.

obey(<<"normal">>, shutdown) -> exit(normal);
obey(<<"error">>, shutdown) -> exit(stop_error);
obey(<<"ignore">>, shutdown) -> go_on;
obey(_OnStop, Reason) -> exit(Reason).
