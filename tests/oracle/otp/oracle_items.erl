%% Requests and other inputs of one supervisor: alone, in a batch, or while it is busy
%% with a start (a hook). Items of a batch or hook are carried out by the supervisor's
%% own process, between two messages or inside the start function, so that each stands
%% in the mailbox before the next and the supervisor handles none of them meanwhile.
-module(oracle_items).
-export([hook/4, batch/3, request/4, result/2]).

%% Carries out the hook of this start, if there is one, and notes its results.
%% A supervisor that is booting has none: its parent would go on at the same time.
hook(World, Path, Attempt, Booting) ->
    case oracle_run:hook(World, Path, Attempt) of
        none -> ok;
        _Items when Booting -> ok;
        Items -> oracle_run:note_hook(World, Path, Attempt, [item(World, I) || I <- Items])
    end.

batch(World, Supervisor, Items) ->
    Caller = self(),
    Tag = make_ref(),
    _ = sys:replace_state(
          Supervisor,
          fun(State) ->
                  Caller ! {Tag, [item(World, Item) || Item <- Items]},
                  State
          end,
          infinity),
    receive {Tag, Results} -> Results end.

item(_World, #{<<"op">> := <<"junk">>}) ->
    self() ! {junk, nobody_expects_this},
    {done, ok};
item(World, #{<<"op">> := <<"exit">>, <<"path">> := Path, <<"reason">> := Reason}) ->
    case oracle_run:newest(World, Path) of
        {Pid, worker, Parent} ->
            Mine = Parent =:= oracle_child:identity(),
            {done, leave(Pid, Mine andalso is_process_alive(Pid), Reason)};
        _ -> {done, noproc}
    end;
item(World, #{<<"op">> := <<"parent_terminate">>}) -> parent_terminate(World);
item(World, Request) -> request(World, self(), oracle_child:identity(), Request).

leave(_Pid, false, _Reason) -> noproc;
leave(Pid, true, Reason) ->
    case oracle_terms:reason(Reason) of
        kill -> exit(Pid, kill);
        Other -> Pid ! {leave, Other}
    end,
    await_notice(Pid),
    ok.

%% Waits until the exit notice of Pid stands in the mailbox.
await_notice(Pid) ->
    {messages, Messages} = process_info(self(), messages),
    case [found || {'EXIT', From, _Reason} <- Messages, From =:= Pid] of
        [] -> erlang:yield(), await_notice(Pid);
        [_ | _] -> ok
    end.

parent_terminate(World) ->
    [Parent | _] = get('$ancestors'),
    case oracle_child:identity() of
        {<<"root">>, _} ->
            Parent ! {stop, shutdown},
            await_notice(Parent),
            {done, [ok]};
        {Path, Incarnation} ->
            ParentIdentity = oracle_run:parent(World, {Path, Incarnation}),
            Id = lists:last(binary:split(Path, <<"/">>, [global])),
            Request = #{<<"op">> => <<"terminate_child">>, <<"id">> => Id},
            Result = request(World, Parent, ParentIdentity, Request),
            await_notice(Parent),
            Result
    end.

%% Puts a request into the mailbox of Supervisor. The answer is fetched by result/2.
request(World, Supervisor, Identity, #{<<"op">> := Op} = Request) ->
    case message(World, Identity, Op, Request) of
        no_such_name -> {done, no_such_name};
        Message ->
            Caller = self(),
            Tag = make_ref(),
            spawn(fun() -> client(World, Caller, Tag, Supervisor, Message) end),
            receive {Tag, sent} -> {asked, Op, Tag} end
    end.

message(World, {Path, _}, <<"start_child">>, #{<<"spec">> := Node}) ->
    {start_child, oracle_terms:child_spec(World, Path, Node)};
message(_World, _, <<"start_child">>, #{<<"name">> := Name}) -> {start_child, [Name]};
message(World, {Path, _}, <<"terminate_child">>, #{<<"name">> := Name}) ->
    terminate_process(World, <<Path/binary, "/", Name/binary>>);
message(World, _, <<"terminate_child">>, #{<<"pid_of">> := Path}) ->
    terminate_process(World, Path);
message(_World, _, <<"terminate_child">>, #{<<"id">> := Id}) -> {terminate_child, Id};
message(_World, _, <<"restart_child">>, #{<<"id">> := Id}) -> {restart_child, Id};
message(_World, _, <<"delete_child">>, #{<<"id">> := Id}) -> {delete_child, Id};
message(_World, _, <<"get_childspec">>, #{<<"id">> := Id}) -> {get_childspec, Id};
message(_World, _, <<"which_children">>, _) -> which_children;
message(_World, _, <<"count_children">>, _) -> count_children.

terminate_process(World, Path) ->
    case oracle_run:newest(World, Path) of
        {Pid, _Kind, _Parent} -> {terminate_child, Pid};
        none -> no_such_name
    end.

%% A caller of gen_server:call/3 without the library's exit: it must stay to tell.
client(World, Caller, Tag, Supervisor, Message) ->
    Monitor = monitor(process, Supervisor),
    Supervisor ! {'$gen_call', {self(), Monitor}, Message},
    Caller ! {Tag, sent},
    receive
        {Monitor, Reply} -> oracle_run:answer(World, Tag, {reply, Reply});
        {'DOWN', Monitor, process, _, Reason} -> oracle_run:answer(World, Tag, {exit, Reason})
    end.

%% The result as it stands in the trace; waits for the answer if need be.
result(_World, {done, Result}) -> Result;
result(World, {asked, Op, Tag}) ->
    Name = fun(Pid) -> oracle_run:identity(World, Pid) end,
    case oracle_run:answered(World, Tag) of
        {reply, Reply} -> oracle_terms:reply(Op, Reply, Name);
        {exit, Reason} -> [exit, oracle_terms:plain(Reason, Name)];
        not_yet -> erlang:yield(), result(World, {asked, Op, Tag})
    end.
