%% Gives stdlib's supervisor a clock that only `tick` moves: the one place where the
%% installed module reads the monotonic clock is replaced in its own abstract code.
-module(oracle_clock).
-export([install/0, now/0, restarts_field/0]).

%% Loads the changed module and returns ok. Anything but exactly one clock read is an
%% error: the module of this OTP release would have to be looked at first.
install() ->
    Forms = forms(),
    {Changed, 1} = replace(Forms, 0),
    {ok, supervisor, Code} = compile:forms(Changed, [binary]),
    true = code:unstick_mod(supervisor),
    {module, supervisor} = code:load_binary(supervisor, "supervisor", Code),
    ok.

%% Whole seconds. Supervisors of the VM itself have no world and use the real clock.
now() ->
    case oracle_child:world() of
        undefined -> erlang:monotonic_time(1);
        World -> oracle_run:clock(World)
    end.

%% Where the remembered restarts stand in the state record of this release.
restarts_field() ->
    [Fields] = [Fields || {attribute, _, record, {state, Fields}} <- forms()],
    index([name(Field) || Field <- Fields], 2).

index([restarts | _], Position) -> Position;
index([_ | Names], Position) -> index(Names, Position + 1).

name({typed_record_field, Field, _Type}) -> name(Field);
name({record_field, _, {atom, _, Name}}) -> Name;
name({record_field, _, {atom, _, Name}, _Default}) -> Name.

forms() ->
    {ok, {supervisor, [{abstract_code, {raw_abstract_v1, Forms}}]}} =
        beam_lib:chunks(code:where_is_file("supervisor.beam"), [abstract_code]),
    Forms.

replace({call, Line, {remote, Line1, {atom, Line2, erlang}, {atom, Line3, monotonic_time}}, _},
        Count) ->
    {{call, Line, {remote, Line1, {atom, Line2, ?MODULE}, {atom, Line3, now}}, []}, Count + 1};
replace([Head | Tail], Count) ->
    {Head1, Count1} = replace(Head, Count),
    {Tail1, Count2} = replace(Tail, Count1),
    {[Head1 | Tail1], Count2};
replace(Tuple, Count) when is_tuple(Tuple) ->
    {List, Count1} = replace(tuple_to_list(Tuple), Count),
    {list_to_tuple(List), Count1};
replace(Other, Count) -> {Other, Count}.
