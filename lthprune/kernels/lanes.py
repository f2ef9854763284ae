"""The three sums that all products here are made of, over many lanes (samples or features) at once; a transposition.

They are written as LLVM's vector instructions, since compiled loops over rows keep their sums in memory rather than in
registers. LLVM divides the lanes into registers of the processor's own width: AVX2, AVX-512 or NEON. What they
compute is said in their docstrings in numpy's words; the tests compare both.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

LANES = 64
_BLOCK = 8  # the height and width of a block that is transposed in registers
_GROUP = 16  # how many dot products are made together, and the width of their partial sums
_FAST = ("contract", "reassoc", "nsz")  # fused multiply-add, sums in any one order; NaN and infinity keep their meaning
_INDEX, _LANE = ir.IntType(64), ir.IntType(32)


@intrinsic  # type: ignore[untyped-decorator]
def add_rows(typing: Any, out: Any, row: Any, values: Any, columns: Any, panel: Any, start: Any, stop: Any) -> Any:
    """Add a weighted sum of rows: ``out[row] += values[start:stop] @ panel[columns[start:stop]]``.

    ``out`` and ``panel`` have rows of 64 numbers. All arrays are contiguous; nothing checks their bounds.
    """
    _check_contiguous(out, values, columns, panel)
    signature = types.void(out, row, values, columns, panel, start, stop)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, number = signature.args, _number(context, out)
        target, factors, places, rows = (
            _data(context, builder, kinds[place], arguments[place]) for place in (0, 2, 3, 4)
        )
        first, last = _index(context, builder, kinds[5], arguments[5]), _index(context, builder, kinds[6], arguments[6])
        own = _row(builder, target, _index(context, builder, kinds[1], arguments[1]), LANES, number)
        before = builder.load(own, align=4)
        loop = _Loop(builder, first, last, 1)
        total = loop.carry(before)
        factor = builder.load(builder.gep(factors, [loop.at]))
        place = builder.sext(builder.load(builder.gep(places, [loop.at])), _INDEX)
        product = builder.fmul(
            _spread(builder, factor, LANES),
            builder.load(_row(builder, rows, place, LANES, number), align=4),
            flags=_FAST,
        )
        loop.close(builder.fadd(total, product, flags=_FAST))
        builder.store(total, own, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def dot_rows(typing: Any, out: Any, left: Any, lefts: Any, right: Any, rights: Any, start: Any, stop: Any) -> Any:
    """Write dot products of pairs of rows: ``out[k] = left[lefts[k]] @ right[rights[k]]`` for k from start to stop.

    ``left`` and ``right`` have rows of 64 numbers; ``stop - start`` must be a multiple of 16. All arrays are
    contiguous; nothing checks their bounds.
    """
    _check_contiguous(out, left, lefts, right, rights)
    signature = types.void(out, left, lefts, right, rights, start, stop)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, number = signature.args, _number(context, out)
        target, first, firsts, second, seconds = (
            _data(context, builder, kinds[place], arguments[place]) for place in range(5)
        )
        bounds = [_index(context, builder, kinds[place], arguments[place]) for place in (5, 6)]
        loop = _Loop(builder, bounds[0], bounds[1], _GROUP)

        def partial(pair: int) -> Any:
            """Return 16 partial sums of one dot product."""
            at = builder.add(loop.at, _INDEX(pair))
            rows = [
                _row(builder, rows, builder.sext(builder.load(builder.gep(places, [at])), _INDEX), LANES, number)
                for rows, places in ((first, firsts), (second, seconds))
            ]
            total = None
            for part in range(LANES // _GROUP):
                left, right = (
                    builder.load(_row(builder, _scalars(builder, row, number), _INDEX(part), _GROUP, number), align=4)
                    for row in rows
                )
                product = builder.fmul(left, right, flags=_FAST)
                total = product if total is None else builder.fadd(total, product, flags=_FAST)
            return total

        def summed(pairs: Sequence[int]) -> Any:
            """Return the sums of pairs in turn, in lanes: each step adds halves, and brings two pairs together."""
            if len(pairs) == 1:
                return partial(pairs[0])
            half, run = len(pairs) // 2, len(pairs) // 2
            low, high = summed(pairs[:half]), summed(pairs[half:])
            lanes = [lane for lane in range(_GROUP) if lane // run % 2 == 0]
            even = [lane + side for block in _runs(lanes, run) for side in (0, _GROUP) for lane in block]
            odd = [lane + run for lane in even]
            return builder.fadd(
                builder.shuffle_vector(low, high, _lanes(even)),
                builder.shuffle_vector(low, high, _lanes(odd)),
                flags=_FAST,
            )

        sums = summed(range(_GROUP))
        builder.store(sums, _row(builder, builder.gep(target, [loop.at]), _INDEX(0), _GROUP, number), align=4)
        loop.close()
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]
def turn_block(typing: Any, out: Any, place: Any, step: Any, values: Any, start: Any, stride: Any) -> Any:
    """Transpose a block of 8 x 8: ``out[place + j * step + i] = values[start + i * stride + j]`` for i and j below 8.

    ``out`` and ``values`` are vectors, contiguous in memory.
    """
    _check_contiguous(out, values)
    signature = types.void(out, place, step, values, start, stride)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, number = signature.args, _number(context, out)
        target, source = (_data(context, builder, kinds[at], arguments[at]) for at in (0, 3))
        to, apart, first, between = (_index(context, builder, kinds[at], arguments[at]) for at in (1, 2, 4, 5))

        def row(pointer: Any, begin: Any, distance: Any, number_of: int) -> Any:
            at = builder.add(begin, builder.mul(distance, _INDEX(number_of)))
            return _vector(builder, pointer, at, _BLOCK, number)

        rows = [builder.load(row(source, first, between, each), align=4) for each in range(_BLOCK)]
        for run in (1, 2, 4):  # exchange the blocks of so many beside the diagonal
            low = [lane if not lane & run else _BLOCK + lane - run for lane in range(_BLOCK)]
            high = [lane + run if not lane & run else _BLOCK + lane for lane in range(_BLOCK)]
            for each in range(_BLOCK):
                if not each & run:
                    pair = rows[each], rows[each + run]
                    rows[each], rows[each + run] = (builder.shuffle_vector(*pair, _lanes(at)) for at in (low, high))
        for each, turned in enumerate(rows):
            builder.store(turned, row(target, to, apart, each), align=4)
        return context.get_dummy_value()

    return signature, generate


def _block(height: int) -> Any:
    """Return the function below for so many rows of the result."""

    @intrinsic  # type: ignore[untyped-decorator]
    def multiply(
        typing: Any,
        out: Any,
        out_at: Any,
        out_next: Any,
        left: Any,
        left_at: Any,
        left_next: Any,
        left_step: Any,
        right: Any,
        right_at: Any,
        right_next: Any,
        depth: Any,
    ) -> Any:
        """Write a block of a matrix product, ``height`` x 16, with a sum of ``depth`` terms in each place.

        In terms of flat arrays: ``out[out_at + i * out_next + j]`` is the sum over k of
        ``left[left_at + i * left_next + k * left_step] * right[right_at + k * right_next + j]``.
        """
        _check_contiguous(out, left, right)
        signature = types.void(
            out, out_at, out_next, left, left_at, left_next, left_step, right, right_at, right_next, depth
        )

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds, number = signature.args, _number(context, out)
            target, first, second = (_data(context, builder, kinds[place], arguments[place]) for place in (0, 3, 7))
            index = {
                place: _index(context, builder, kinds[place], arguments[place]) for place in (1, 2, 4, 5, 6, 8, 9, 10)
            }
            rows = [
                builder.gep(first, [builder.add(index[4], builder.mul(index[5], _INDEX(row)))]) for row in range(height)
            ]
            columns = builder.gep(second, [index[8]])
            loop = _Loop(builder, _INDEX(0), index[10], 1)
            zero = ir.Constant(ir.VectorType(number, _GROUP), [0.0] * _GROUP)
            totals = [loop.carry(zero) for _ in rows]
            step = builder.mul(loop.at, index[6])
            factors = builder.load(_vector(builder, columns, builder.mul(loop.at, index[9]), _GROUP, number), align=4)
            after = []
            for row, total in zip(rows, totals, strict=True):
                own = _spread(builder, builder.load(builder.gep(row, [step])), _GROUP)
                after.append(builder.fadd(total, builder.fmul(own, factors, flags=_FAST), flags=_FAST))
            loop.close(*after)
            for row, total in enumerate(totals):
                place = builder.add(index[1], builder.mul(index[2], _INDEX(row)))
                builder.store(total, _vector(builder, target, place, _GROUP, number), align=4)
            return context.get_dummy_value()

        return signature, generate

    return multiply


WIDTH, HEIGHT = _GROUP, 6  # of a block: its sums fit the registers of AVX2, of AVX-512 and of NEON
multiply_block, multiply_row = _block(HEIGHT), _block(1)


class _Loop:
    """A loop in LLVM's terms: ``at`` runs from one index to another, and some values are carried round."""

    def __init__(self, builder: Any, first: Any, last: Any, step: int) -> None:
        self._builder, self._step = builder, step
        self._before, function = builder.block, builder.function
        self._head, body, self._after = (function.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(self._head)
        builder.position_at_end(self._head)
        self.at = builder.phi(_INDEX)
        self.at.add_incoming(first, self._before)
        self._carried: list[Any] = []
        builder.cbranch(builder.icmp_signed("<", self.at, last), body, self._after)
        builder.position_at_end(body)

    def carry(self, before: Any) -> Any:
        """Return a carried value, which is ``before`` at first."""
        body = self._builder.block
        self._builder.position_after(self.at)
        carried = self._builder.phi(before.type)
        carried.add_incoming(before, self._before)
        self._carried.append(carried)
        self._builder.position_at_end(body)
        return carried

    def close(self, *carried: Any) -> None:
        """Go round with these values to carry; what follows is after the loop."""
        builder = self._builder
        for value, after in zip(self._carried, carried, strict=True):
            value.add_incoming(after, builder.block)
        self.at.add_incoming(builder.add(self.at, _INDEX(self._step)), builder.block)
        builder.branch(self._head)
        builder.position_at_end(self._after)


def _check_contiguous(*arrays: Any) -> None:
    """Refuse to compile for arrays with gaps, which would be read as if they had none."""
    for array in arrays:
        if array.layout != "C":
            raise TypingError(f"sums over lanes need contiguous arrays, and one is {array}")


def _number(context: Any, array: Any) -> Any:
    return context.get_value_type(array.dtype)


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Return the pointer to an array's first element."""
    return context.make_array(kind)(context, builder, array).data


def _index(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.cast(builder, value, kind, types.int64)


def _scalars(builder: Any, pointer: Any, number: Any) -> Any:
    return builder.bitcast(pointer, number.as_pointer())


def _row(builder: Any, rows: Any, row: Any, width: int, number: Any) -> Any:
    """Return the pointer to a row of so many numbers, as one vector."""
    return _vector(builder, rows, builder.mul(row, _INDEX(width)), width, number)


def _vector(builder: Any, numbers: Any, place: Any, width: int, number: Any) -> Any:
    """Return the pointer to so many numbers from a place on, as one vector."""
    return builder.bitcast(builder.gep(numbers, [place]), ir.VectorType(number, width).as_pointer())


def _spread(builder: Any, value: Any, width: int) -> Any:
    """Return a vector with this value in every lane."""
    empty = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(empty, value, _LANE(0)), empty, _lanes([0] * width))


def _lanes(numbers: Sequence[int]) -> Any:
    return ir.Constant(ir.VectorType(_LANE, len(numbers)), list(numbers))


def _runs(numbers: Sequence[int], length: int) -> list[Sequence[int]]:
    return [numbers[at : at + length] for at in range(0, len(numbers), length)]
