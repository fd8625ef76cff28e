"""Every operation an operator has, by name: one table behind both the HTTP interface and the local client.

An operation takes a JSON object of arguments and gives a JSON value. Reading ones answer GET as well as POST.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from snapedge_hooks.channels import Channel
from snapedge_hooks.document import DocumentError, Fields
from snapedge_hooks.errors import ExitCode, SnapedgeError
from snapedge_hooks.vocabulary import Architecture, SnapName

from . import conversation, orders, promotion, views
from .control import Control
from .inventory import DeviceId, GroupName, parse_follow
from .selector import Selector, parse_label

Handler = Callable[[Control, Fields, str], Any]


class ArgumentError(SnapedgeError):
    """An operation does not exist, or one of its arguments is none."""

    exit_code = ExitCode.USAGE

    def __init__(self, operation: str, problem: str) -> None:
        super().__init__(f"{operation}: {problem}", resolution=f"see fleet {operation.replace('-', ' ', 1)} --help")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing an operator can ask for."""

    handler: Handler
    is_reading: bool


def perform(control: Control, name: str, arguments: Mapping[str, Any], *, actor: str) -> Any:
    """The result of an operation.

    Raises:
        ArgumentError: there is no such operation, or an argument is wrong.
        SnapedgeError: the operation's own errors.
    """
    operation = OPERATIONS.get(name)
    if operation is None:
        raise ArgumentError(name, "there is no such operation")
    fields = Fields(arguments, what=name)
    try:
        return operation.handler(control, fields, actor)
    except ValueError as error:
        raise ArgumentError(name, str(error)) from error
    except DocumentError as error:
        if error.what == name:
            raise ArgumentError(name, f"{error.where}: {error.problem}") from error
        raise


def _group_add(control: Control, fields: Fields, actor: str) -> Any:
    name, selector = GroupName(fields.text("name")), Selector.parse(fields.text("selector", default=""))
    follows = _follows(fields)
    fields.done()
    return orders.add_group(control, name, selector, follows, actor=actor)


def _group_set(control: Control, fields: Fields, actor: str) -> Any:
    name, selector = fields.text("name"), fields.optional_text("selector")
    follows, unfollow = _follows(fields), [SnapName(text) for text in fields.list("unfollow", default=[])]
    fields.done()
    return orders.set_group(
        control,
        name,
        selector=None if selector is None else Selector.parse(selector),
        follows=follows,
        unfollow=unfollow,
        actor=actor,
    )


def _device_add(control: Control, fields: Fields, actor: str) -> Any:
    name, architecture = DeviceId(fields.text("device")), Architecture.parse(fields.text("architecture"))
    labels = _labels(fields)
    fields.done()
    return orders.add_device(control, name, architecture, labels, actor=actor)


def _device_label(control: Control, fields: Fields, actor: str) -> Any:
    name, labels = fields.text("device"), _labels(fields)
    unlabel = [str(text) for text in fields.list("unlabel", default=[])]
    fields.done()
    return orders.label_device(control, name, labels, unlabel, actor=actor)


def _hold(control: Control, fields: Fields, actor: str) -> Any:
    name, why, seconds = fields.text("device"), fields.text("why"), fields.optional_integer("seconds", minimum=1)
    fields.done()
    until = None if seconds is None else datetime.fromtimestamp(control.now(), UTC) + timedelta(seconds=seconds)
    return orders.hold_device(control, name, why, until, actor=actor)


def _promote(control: Control, fields: Fields, actor: str) -> Any:
    snap, source = SnapName(fields.text("snap")), Channel.parse(fields.text("from"))
    target, dry_run = Channel.parse(fields.text("to")), fields.flag("dry_run", default=False)
    fields.done()
    return promotion.promote(control, snap, source, target, dry_run=dry_run, actor=actor)


def _history(control: Control, fields: Fields, _actor: str) -> Any:
    subject, limit = fields.optional_text("subject"), fields.integer("limit", minimum=1, maximum=100_000, default=100)
    fields.done()
    return views.history(control, subject, limit)


def _on_device(order: Callable[..., Any], **fixed: Any) -> Handler:
    def handler(control: Control, fields: Fields, actor: str) -> Any:
        name = fields.text("device")
        fields.done()
        return order(control, name, **fixed, actor=actor)

    return handler


def _on_rollout(order: Callable[..., Any]) -> Handler:
    def handler(control: Control, fields: Fields, actor: str) -> Any:
        snap, channel = fields.text("snap"), fields.optional_text("channel")
        fields.done()
        return order(control, snap, None if channel is None else Channel.parse(channel), actor=actor)

    return handler


def _showing(view: Callable[..., Any], *optional: str) -> Handler:
    def handler(control: Control, fields: Fields, _actor: str) -> Any:
        arguments = [fields.optional_text(key) for key in optional]
        fields.done()
        return view(control, *arguments)

    return handler


def _device_show(control: Control, fields: Fields, _actor: str) -> Any:
    name = fields.text("device")
    fields.done()
    return {**views.device(control, name), "why": conversation.explain(control, name)["why"]}


def _store(control: Control, fields: Fields, _actor: str) -> Any:
    fields.done()
    return views.store_contents(control.store)


def _follows(fields: Fields) -> dict[SnapName, Channel]:
    return dict(parse_follow(str(text)) for text in fields.list("follows", default=[]))


def _labels(fields: Fields) -> dict[str, str]:
    return dict(parse_label(str(text)) for text in fields.list("labels", default=[]))


OPERATIONS: dict[str, Operation] = {
    "audit-verify": Operation(handler=_showing(views.verify_audit), is_reading=True),
    "device-add": Operation(handler=_device_add, is_reading=False),
    "device-claim": Operation(handler=_on_device(orders.claim_device), is_reading=False),
    "device-label": Operation(handler=_device_label, is_reading=False),
    "device-list": Operation(handler=_showing(views.devices, "group"), is_reading=True),
    "device-remove": Operation(handler=_on_device(orders.remove_device), is_reading=False),
    "device-show": Operation(handler=_device_show, is_reading=True),
    "drift": Operation(handler=_showing(views.drift), is_reading=True),
    "group-add": Operation(handler=_group_add, is_reading=False),
    "group-list": Operation(handler=_showing(views.groups), is_reading=True),
    "group-set": Operation(handler=_group_set, is_reading=False),
    "history": Operation(handler=_history, is_reading=True),
    "hold": Operation(handler=_hold, is_reading=False),
    "pause": Operation(handler=_on_rollout(orders.pause), is_reading=False),
    "promote": Operation(handler=_promote, is_reading=False),
    "resume": Operation(handler=_on_rollout(orders.resume), is_reading=False),
    "rollback": Operation(handler=_on_rollout(orders.rollback), is_reading=False),
    "status": Operation(handler=_showing(views.status, "snap"), is_reading=True),
    "store": Operation(handler=_store, is_reading=True),
    "unhold": Operation(handler=_on_device(orders.hold_device, why=None, until=None), is_reading=False),
}
