%% Between the words of a scenario (JSON) and the terms of the VM.
-module(oracle_terms).
-export([flags/1, child_specs/3, child_spec/3, reason/1, word/1, plain/2, reply/3]).

-define(FLAGS, [{<<"strategy">>, strategy}, {<<"intensity">>, intensity},
                {<<"period">>, period}, {<<"auto_shutdown">>, auto_shutdown}]).
-define(SPEC, [{<<"restart">>, restart}, {<<"shutdown">>, shutdown},
               {<<"significant">>, significant}, {<<"type">>, type}]).

%% The supervisor flags of a SUP: what is missing stays missing, wrong values stay wrong.
flags(Sup) -> pick(?FLAGS, Sup).

child_specs(World, Path, Sup) ->
    Simple = maps:get(<<"strategy">>, Sup, null) =:= <<"simple_one_for_one">>,
    Kind = if Simple -> instance; true -> child end,
    [spec(World, Path, Kind, Node) || Node <- maps:get(<<"children">>, Sup, [])].

child_spec(World, Path, Node) -> spec(World, Path, child, Node).

spec(World, Path, Kind, Node) when is_map(Node) ->
    Id = case Node of #{<<"id">> := I} -> #{id => I}; #{} -> #{} end,
    Start = case Node of
                #{<<"no_start">> := true} -> #{};
                #{} -> #{start => {oracle_child, Kind, [World, Path, Node]}}
            end,
    maps:merge(maps:merge(Id, Start), pick(?SPEC, Node));
spec(_World, _Path, _Kind, NoSpec) -> word(NoSpec).

pick(Names, Map) ->
    maps:from_list([{Name, word(maps:get(Key, Map))}
                    || {Key, Name} <- Names, maps:is_key(Key, Map)]).

word(Word) when is_binary(Word) -> binary_to_atom(Word);
word(List) when is_list(List) -> [word(Word) || Word <- List];
word(Other) -> Other.

%% An exit reason: ["shutdown", X] is the tuple {shutdown, X}.
reason(List) when is_list(List) -> list_to_tuple([reason(Item) || Item <- List]);
reason(Word) -> word(Word).

%% The reply to a request as it stands in a trace.
reply(<<"which_children">>, Children, Name) when is_list(Children) ->
    Rows = [{order(Id, Pid, Name), [plain(Id, Name), plain(Pid, Name), Type]}
            || {Id, Pid, Type, _Modules} <- Children],
    Simple = Rows =/= [] andalso lists:all(fun({_, [Id | _]}) -> Id =:= null end, Rows),
    [Row || {_, Row} <- if Simple -> lists:sort(Rows); true -> Rows end];
reply(<<"count_children">>, Counts, _Name) when is_list(Counts) ->
    [proplists:get_value(Key, Counts) || Key <- [specs, active, supervisors, workers]];
reply(<<"get_childspec">>, {ok, Spec}, Name) ->
    [ok, maps:map(fun(_Key, Value) -> plain(Value, Name) end,
                  maps:with([id, restart, shutdown, significant, type], Spec))];
reply(_Op, ok, _Name) -> [ok];
reply(_Op, Reply, Name) -> plain(Reply, Name).

%% Instances of simple_one_for_one have no order of their own.
order(undefined, Pid, Name) when is_pid(Pid) -> {0, Name(Pid)};
order(_Id, _Pid, _Name) -> {1, none}.

%% Any term as JSON; Name gives a process its {Path, Incarnation}.
plain(undefined, _Name) -> null;
plain(Pid, Name) when is_pid(Pid) ->
    case Name(Pid) of
        {Path, Incarnation} -> <<Path/binary, "#", (integer_to_binary(Incarnation))/binary>>;
        unknown -> <<"stranger">>
    end;
plain({'EXIT', {Reason, [{_, _, _, _} | _]}}, Name) -> ['EXIT', plain(Reason, Name)];
plain({bad_start_spec, Specs}, _Name) when is_list(Specs) -> [bad_start_spec, length(Specs)];
plain(Tuple, _Name) when element(1, Tuple) =:= child, tuple_size(Tuple) > 5 -> child;
plain(Tuple, Name) when is_tuple(Tuple) -> [plain(Item, Name) || Item <- tuple_to_list(Tuple)];
plain(List, Name) when is_list(List) -> [plain(Item, Name) || Item <- List];
plain(Map, _Name) when is_map(Map) -> map;
plain(Other, _Name) -> Other.
