%% JSON of RFC 8259, as far as scenarios and traces need it. Objects are maps with
%% binary keys, strings are binaries, null is the atom null.
-module(oracle_json).
-export([decode/1, encode/1]).

decode(Text) ->
    {Value, Rest} = value(space(Text)),
    <<>> = space(Rest),
    Value.

value(<<"{", Rest/binary>>) -> object(space(Rest), #{});
value(<<"[", Rest/binary>>) -> array(space(Rest), []);
value(<<"\"", Rest/binary>>) -> string(Rest, <<>>);
value(<<"true", Rest/binary>>) -> {true, Rest};
value(<<"false", Rest/binary>>) -> {false, Rest};
value(<<"null", Rest/binary>>) -> {null, Rest};
value(Text) -> number(Text, []).

object(<<"}", Rest/binary>>, Map) -> {Map, Rest};
object(<<"\"", Rest/binary>>, Map) ->
    {Key, Rest1} = string(Rest, <<>>),
    <<":", Rest2/binary>> = space(Rest1),
    {Value, Rest3} = value(space(Rest2)),
    Map1 = Map#{Key => Value},
    case space(Rest3) of
        <<",", Rest4/binary>> -> object(space(Rest4), Map1);
        <<"}", Rest4/binary>> -> {Map1, Rest4}
    end.

array(<<"]", Rest/binary>>, Items) -> {lists:reverse(Items), Rest};
array(Text, Items) ->
    {Item, Rest} = value(Text),
    case space(Rest) of
        <<",", Rest1/binary>> -> array(space(Rest1), [Item | Items]);
        <<"]", Rest1/binary>> -> {lists:reverse([Item | Items]), Rest1}
    end.

string(<<"\"", Rest/binary>>, Seen) -> {Seen, Rest};
string(<<"\\u", Hex:4/binary, Rest/binary>>, Seen) ->
    unicode(binary_to_integer(Hex, 16), Rest, Seen);
string(<<"\\", Char, Rest/binary>>, Seen) ->
    string(Rest, <<Seen/binary, (unescape(Char))>>);
string(<<Char, Rest/binary>>, Seen) -> string(Rest, <<Seen/binary, Char>>).

unicode(High, <<"\\u", Hex:4/binary, Rest/binary>>, Seen)
  when High >= 16#D800, High =< 16#DBFF ->
    Low = binary_to_integer(Hex, 16),
    Char = 16#10000 + (High - 16#D800) * 16#400 + (Low - 16#DC00),
    string(Rest, <<Seen/binary, Char/utf8>>);
unicode(Char, Rest, Seen) -> string(Rest, <<Seen/binary, Char/utf8>>).

unescape($n) -> $\n;
unescape($t) -> $\t;
unescape($r) -> $\r;
unescape($b) -> $\b;
unescape($f) -> $\f;
unescape(Char) -> Char.

number(<<Char, Rest/binary>>, Seen)
  when Char >= $0, Char =< $9; Char =:= $-; Char =:= $+; Char =:= $.; Char =:= $e; Char =:= $E ->
    number(Rest, [Char | Seen]);
number(Rest, Seen) ->
    Digits = lists:reverse(Seen),
    case string:to_float(Digits) of
        {Float, []} -> {Float, Rest};
        _ -> {list_to_integer(Digits), Rest}
    end.

space(<<Char, Rest/binary>>) when Char =:= $\s; Char =:= $\t; Char =:= $\r; Char =:= $\n ->
    space(Rest);
space(Text) -> Text.

encode(Value) when is_map(Value) ->
    Members = [[encode(Key), $:, encode(Member)] || {Key, Member} <- maps:to_list(Value)],
    [${, lists:join($,, Members), $}];
encode(Value) when is_list(Value) -> [$[, lists:join($,, [encode(V) || V <- Value]), $]];
encode(Value) when is_integer(Value) -> integer_to_binary(Value);
encode(Value) when is_float(Value) -> float_to_binary(Value, [short]);
encode(Value) when Value =:= true; Value =:= false; Value =:= null -> atom_to_binary(Value);
encode(Value) when is_atom(Value) -> quote(atom_to_binary(Value));
encode(Value) when is_binary(Value) -> quote(Value).

quote(Text) -> [$", << <<(escape(Char))/binary>> || <<Char>> <= Text >>, $"].

escape($") -> <<"\\\"">>;
escape($\\) -> <<"\\\\">>;
escape(Char) when Char < 32 -> iolist_to_binary(io_lib:format("\\u~4.16.0b", [Char]));
escape(Char) -> <<Char>>.
