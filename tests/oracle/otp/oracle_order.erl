%% Puts what OTP does concurrently into a fixed order. Works on events as terms.
-module(oracle_order).
-export([arrange/4]).

%% Parent gives the {Path, Incarnation} above one; IsSimple tells of a supervisor's
%% {Path, Incarnation} whether its strategy is simple_one_for_one; Killed are those that
%% kill_sup has killed in this step.
arrange(Events, Killed, Parent, IsSimple) ->
    Gathered = lists:foldl(fun(K, Es) -> gather(Es, K, Parent) end, Events, Killed),
    runs(Gathered, fun(Event) -> simple_parent(Event, Parent, IsSimple) end).

%% Moves what happens below a killed supervisor right behind its exit, grouped by
%% direct child.
gather(Events, Killed, Parent) ->
    {Before, [Exit | After]} = lists:splitwith(fun(E) -> not is_exit(E, Killed) end, Events),
    {Below, Others} =
        lists:partition(fun(E) -> branch(subject(E), Killed, Parent) =/= none end, After),
    Grouped = lists:sort(fun(A, B) ->
                                 branch(subject(A), Killed, Parent)
                                     =< branch(subject(B), Killed, Parent)
                         end, Below),
    Before ++ [Exit | Grouped] ++ Others.

is_exit({exit, Path, Incarnation, _}, Killed) -> {Path, Incarnation} =:= Killed;
is_exit(_Event, _Killed) -> false.

subject({exit, Path, Incarnation, _}) -> {Path, Incarnation};
subject({sig, Path, Incarnation, _}) -> {Path, Incarnation};
subject({report, Path, Incarnation, _, _, _}) -> {Path, Incarnation};
subject(_Event) -> none.

%% The direct child of Top that Identity is or is below; none if it is neither.
branch(none, _Top, _Parent) -> none;
branch(Identity, Top, Parent) ->
    case Parent(Identity) of
        Top -> Identity;
        Above -> branch(Above, Top, Parent)
    end.

simple_parent(Event, Parent, IsSimple) when element(1, Event) =:= sig;
                                            element(1, Event) =:= exit ->
    Above = Parent(subject(Event)),
    case Above =/= none andalso IsSimple(Above) of
        true -> Above;
        false -> none
    end;
simple_parent(_Event, _Parent, _IsSimple) -> none.

%% In a run of events with one simple parent: sig first, each kind by path and incarnation.
runs([], _Key) -> [];
runs([Event | Rest], Key) ->
    case Key(Event) of
        none -> [Event | runs(Rest, Key)];
        Simple ->
            {Run, Others} = lists:splitwith(fun(E) -> Key(E) =:= Simple end, Rest),
            lists:sort(fun(A, B) -> rank(A) =< rank(B) end, [Event | Run]) ++ runs(Others, Key)
    end.

rank({sig, Path, Incarnation, _}) -> {0, Path, Incarnation};
rank({exit, Path, Incarnation, _}) -> {1, Path, Incarnation}.
