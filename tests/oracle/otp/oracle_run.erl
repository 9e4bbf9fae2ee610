%% Runs one scenario and returns its trace.
-module(oracle_run).
-export([trace/1, new_world/0, discard/1]).
-export([event/2, born/5, booted/2, is_booting/2, attempt/2, definition/3, clock/1, hook/3,
         note_hook/4, newest/2, parent/2, identity/2, answer/3, answered/2]).

%% --- the world: three tables that every process of a scenario can reach -------------

%% events: {Stamp, Event}; live: {Pid, Path, Kind}; facts: everything else.
new_world() ->
    Table = fun(Type) -> ets:new(oracle, [Type, public]) end,
    #{events => Table(ordered_set), live => Table(set), facts => Table(set)}.

%% Ends every process that is left and forgets the tables.
discard(#{events := Events, live := Live, facts := Facts}) ->
    [exit(Pid, kill) || {Pid, _Path, _Kind} <- ets:tab2list(Live)],
    [exit(Pid, kill) || {{helper, Pid}} <- ets:tab2list(Facts)],
    [ets:delete(Table) || Table <- [Events, Live, Facts]],
    ok.

fact(#{facts := Facts}, Key, Default) ->
    case ets:lookup(Facts, Key) of
        [{Key, Value}] -> Value;
        [] -> Default
    end.

set(#{facts := Facts}, Key, Value) -> ets:insert(Facts, {Key, Value}).

count(#{facts := Facts}, Key) -> ets:update_counter(Facts, Key, 1, {Key, 0}).

event(World, Event) -> event(World, erlang:unique_integer([monotonic]), Event).

event(#{events := Events}, Stamp, Event) -> ets:insert(Events, {Stamp, Event}).

%% Notes a new process and returns its incarnation.
born(#{live := Live} = World, Path, Parent, Kind, Pid) ->
    Incarnation = count(World, {incarnation, Path}),
    set(World, {process, Pid}, {Path, Incarnation}),
    set(World, {parent, {Path, Incarnation}}, Parent),
    set(World, {newest, Path}, {Pid, Kind, Parent}),
    ets:insert(Live, {Pid, Path, Kind}),
    Incarnation.

booted(World, Identity) -> set(World, {booted, Identity}, true).

is_booting(_World, {<<"root">>, _}) -> false;
is_booting(World, Identity) -> not fact(World, {booted, Identity}, false).

attempt(World, Path) -> count(World, {attempt, Path}).

%% What init returns for Path now: the last accepted upgrade, else what it was born with.
definition(World, Path, Sup) ->
    Current = fact(World, {upgrade, Path}, Sup),
    is_map(Current) andalso
        set(World, {simple, oracle_child:identity()},
            maps:get(<<"strategy">>, Current, null) =:= <<"simple_one_for_one">>),
    Current.

clock(World) -> fact(World, clock, 0).

hook(World, Path, Attempt) -> fact(World, {hook, Path, Attempt}, none).

note_hook(World, Path, Attempt, Results) ->
    set(World, hooks, [{Path, Attempt, Results} | fact(World, hooks, [])]).

newest(World, Path) -> fact(World, {newest, Path}, none).

parent(World, Identity) -> fact(World, {parent, Identity}, none).

identity(World, Pid) -> fact(World, {process, Pid}, unknown).

answer(World, Tag, Answer) -> set(World, {answer, Tag}, Answer).

answered(World, Tag) -> fact(World, {answer, Tag}, not_yet).

%% --- the scenario -------------------------------------------------------------------

trace(#{<<"id">> := Id, <<"root">> := Root, <<"ops">> := Ops} = Scenario) ->
    World = new_world(),
    [set(World, {hook, Path, Attempt}, Items)
     || #{<<"path">> := Path, <<"attempt">> := Attempt, <<"do">> := Items}
            <- maps:get(<<"hooks">>, Scenario, [])],
    try
        Keeper = keeper(World, Root),
        Steps = run(World, Keeper, Ops),
        #{id => Id, otp => list_to_binary(erlang:system_info(otp_release)),
          exit => root_exit(World), steps => Steps}
    after
        discard(World)
    end.

%% The parent of the root. Everything it begets is traced.
keeper(World, Root) ->
    Tracer = helper(World, fun() -> tracer(World) end),
    Keeper = helper(World, fun() -> receive go -> keep(World, Root) end end),
    1 = erlang:trace(Keeper, true, [procs, set_on_spawn, strict_monotonic_timestamp,
                                    {tracer, Tracer}]),
    Keeper ! go,
    Keeper.

helper(#{facts := Facts}, Fun) ->
    Pid = spawn(Fun),
    ets:insert(Facts, {{helper, Pid}}),
    Pid.

%% The runtime stamps an exit in the exiting process, before links and monitors fire.
tracer(#{live := Live} = World) ->
    receive
        {trace_ts, Pid, exit, Reason, {_Time, Stamp}} ->
            case ets:take(Live, Pid) of
                [{Pid, _Path, _Kind}] ->
                    {Path, Incarnation} = identity(World, Pid),
                    event(World, Stamp, {exit, Path, Incarnation, Reason});
                [] -> not_ours
            end;
        _Other -> ok
    end,
    tracer(World).

keep(World, Sup) ->
    process_flag(trap_exit, true),
    case oracle_child:start_root(World, Sup) of
        {ok, Root} ->
            set(World, boot, ok),
            keep_on(World, Root);
        {error, Reason} -> set(World, boot, {error, Reason})
    end.

keep_on(World, Root) ->
    receive
        {stop, Reason} -> exit(Root, Reason), keep_on(World, Root);
        {'EXIT', Root, Reason} -> set(World, root_exit, {ended, Reason})
    end.

run(World, Keeper, Ops) ->
    Boot = await(fun() -> fact(World, boot, none) end),
    First = step(World, #{op => boot}, fun() -> reply(World, Boot) end, []),
    [First | operations(World, Keeper, Ops, 1)].

operations(World, Keeper, Ops, N) ->
    case {is_up(World), Ops} of
        {false, _} -> [];
        {true, []} ->
            Keeper ! {stop, shutdown},
            _ = await(fun() -> fact(World, root_exit, none) end),
            [step(World, #{op => 'end'}, fun() -> null end, [])];
        {true, [Op | Rest]} ->
            Key = #{n => N, op => maps:get(<<"op">>, Op)},
            Step = operation(World, Keeper, Op, Key),
            [Step | operations(World, Keeper, Rest, N + 1)]
    end.

is_up(World) ->
    fact(World, boot, none) =:= ok andalso fact(World, root_exit, none) =:= none.

await(Fun) ->
    case Fun() of
        none -> erlang:yield(), await(Fun);
        Value -> Value
    end.

operation(World, Keeper, Op, Key) ->
    case carry_out(World, Keeper, Op) of
        {killed, Identity} -> step(World, Key, fun() -> ok end, [Identity]);
        {results, Results} ->
            Ret = fun() -> [oracle_items:result(World, Result) || Result <- Results] end,
            step(World, Key, Ret, []);
        Result -> step(World, Key, fun() -> oracle_items:result(World, Result) end, [])
    end.

carry_out(World, _Keeper, #{<<"op">> := <<"tick">>, <<"s">> := Seconds}) ->
    set(World, clock, clock(World) + Seconds),
    {done, ok};
carry_out(World, Keeper, #{<<"op">> := <<"stop">>, <<"reason">> := Reason}) ->
    Keeper ! {stop, oracle_terms:reason(Reason)},
    _ = await(fun() -> fact(World, root_exit, none) end),
    {done, ok};
carry_out(World, _Keeper, #{<<"op">> := <<"exit">>, <<"path">> := Path, <<"reason">> := Reason}) ->
    case find(World, Path) of
        {Pid, worker} ->
            case oracle_terms:reason(Reason) of
                kill -> exit(Pid, kill);
                Other -> Pid ! {leave, Other}
            end,
            {done, ok};
        {_Pid, supervisor} -> {done, not_worker};
        none -> {done, noproc}
    end;
carry_out(World, _Keeper, #{<<"op">> := Op} = Operation) ->
    Path = maps:get(<<"sup">>, Operation, maps:get(<<"path">>, Operation, null)),
    case find(World, Path) of
        {Pid, supervisor} -> on_supervisor(World, Pid, Op, Operation);
        _ -> {done, noproc}
    end.

on_supervisor(World, Pid, <<"batch">>, #{<<"items">> := Items}) ->
    {results, oracle_items:batch(World, Pid, Items)};
on_supervisor(World, Pid, <<"kill_sup">>, _) ->
    exit(Pid, kill),
    {killed, identity(World, Pid)};
on_supervisor(_World, Pid, <<"signal_sup">>, #{<<"reason">> := Reason}) ->
    Signal = oracle_terms:reason(Reason),
    spawn(fun() -> exit(Pid, Signal) end),
    {done, ok};
on_supervisor(_World, Pid, <<"junk">>, _) ->
    Pid ! {junk, nobody_expects_this},
    {done, ok};
on_supervisor(World, Pid, <<"upgrade">>, #{<<"sup">> := Path, <<"to">> := To}) ->
    {done, upgrade(World, Pid, Path, To)};
on_supervisor(World, Pid, _Request, Operation) ->
    oracle_items:request(World, Pid, identity(World, Pid), Operation).

upgrade(#{facts := Facts} = World, Pid, Path, To) ->
    Key = {upgrade, Path},
    Before = ets:lookup(Facts, Key),
    set(World, Key, To),
    ok = sys:suspend(Pid, infinity),
    Result = sys:change_code(Pid, supervisor, undefined, [], infinity),
    ok = sys:resume(Pid, infinity),
    if
        Result =:= ok, is_map(To) -> kept;
        true -> ets:delete(Facts, Key), ets:insert(Facts, Before)
    end,
    reply(World, Result).

find(#{live := Live} = World, Path) ->
    case newest(World, Path) of
        {Pid, Kind, _Parent} ->
            case ets:member(Live, Pid) of
                true -> {Pid, Kind};
                false -> none
            end;
        none -> none
    end.

%% --- steps --------------------------------------------------------------------------

%% A step is written down when the whole tree is at rest.
step(World, Step, Ret, Killed) ->
    rest(World),
    Value = Ret(),
    Step#{ret => Value, events => events(World, Killed), hooks => hooks(World),
          tree => tree(World)}.

%% Two looks that find every process waiting in its loop with an empty mailbox, and not
%% run in between: then all of them were at rest at one moment.
rest(World) -> rest(World, look(World), 0).

rest(World, Before, Looks) ->
    if Looks > 200 -> timer:sleep(1); true -> erlang:yield() end,
    Now = look(World),
    case unmoved(Before, Now) of
        true -> ok;
        false -> rest(World, Now, Looks + 1)
    end.

%% To answer a look costs a process one reduction or two; any message costs it more.
unmoved(busy, _Now) -> false;
unmoved(_Before, busy) -> false;
unmoved(Before, Now) when map_size(Before) =/= map_size(Now) -> false;
unmoved(Before, Now) ->
    maps:fold(fun(Pid, Reductions, Same) ->
                      Same andalso Reductions - maps:get(Pid, Before, 0) =< 2
              end, true, Now).

look(#{live := Live}) -> look(ets:tab2list(Live), #{}).

look([], Seen) -> Seen;
look([{Pid, _Path, _Kind} | Rest], Seen) ->
    case process_info(Pid, [status, message_queue_len, current_function, reductions]) of
        [{status, waiting}, {message_queue_len, 0}, {current_function, Function},
         {reductions, Reductions}] ->
            case Function of
                {gen_server, loop, _} -> look(Rest, Seen#{Pid => Reductions});
                {erlang, hibernate, _} -> look(Rest, Seen#{Pid => Reductions});
                {gen_server, loop_hibernate, _} -> look(Rest, Seen#{Pid => Reductions});
                {oracle_child, worker, _} -> look(Rest, Seen#{Pid => Reductions});
                _ -> busy
            end;
        _ -> busy
    end.

events(#{events := Events} = World, Killed) ->
    Stamped = ets:tab2list(Events),
    ets:delete_all_objects(Events),
    Parent = fun(Identity) -> parent(World, Identity) end,
    IsSimple = fun(Identity) -> fact(World, {simple, Identity}, false) end,
    Happened = [Event || {_Stamp, Event} <- Stamped],
    [term(World, Event) || Event <- oracle_order:arrange(Happened, Killed, Parent, IsSimple)].

hooks(#{facts := Facts} = World) ->
    Hooks = lists:reverse(fact(World, hooks, [])),
    ets:delete(Facts, hooks),
    [[Path, Attempt, [oracle_items:result(World, Result) || Result <- Results]]
     || {Path, Attempt, Results} <- Hooks].

tree(#{live := Live} = World) ->
    maps:from_list([{Path, supervisor(World, Pid)}
                    || {Pid, Path, supervisor} <- ets:tab2list(Live)]).

supervisor(World, Pid) ->
    Name = fun(Process) -> identity(World, Process) end,
    Children = supervisor:which_children(Pid),
    Counts = supervisor:count_children(Pid),
    Restarts = element(persistent_term:get(oracle_restarts_field), sys:get_state(Pid, infinity)),
    #{children => oracle_terms:reply(<<"which_children">>, Children, Name),
      counts => oracle_terms:reply(<<"count_children">>, Counts, Name),
      restarts => length(Restarts)}.

reply(_World, ok) -> [ok];
reply(World, Result) -> term(World, Result).

root_exit(World) ->
    case fact(World, root_exit, none) of
        {ended, Reason} -> term(World, Reason);
        none -> null
    end.

term(World, Term) -> oracle_terms:plain(Term, fun(Pid) -> identity(World, Pid) end).
