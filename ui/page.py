"""The page: talk on the left; shopper, cart, memory and examples on the right (Gradio 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from retrieval.records import ShopError
from ui.bars import picture as bars
from ui.cards import cards, cart, memory, plain, prose
from ui.model_service import Status
from ui.port import check_port
from ui.talk import Press, Said, Talk
from ui.views import View
from ui.words import arguments, press, step, visible

if TYPE_CHECKING:
    from agent.assistant import Assistant

EXAMPLES = (
    "What should I get on my next trip?",
    "Something for my cat, under five dollars",
    "Cheese for tacos, store brand",
    "A snack I haven't tried before",
    "What goes with what is in my cart?",
    "What do you remember about me?",
)
NEW = "New here"
PATIENCE = 30.0  # seconds that a press waits for the turn before it
STYLE = Path(__file__).with_name("page.css")
SCRIPT = Path(__file__).with_name("page.js")


def build_page(
    assistant: Assistant,
    *,
    shoppers: Sequence[tuple[str, str]] = (),
    examples: Sequence[str] = EXAMPLES,
    status: Callable[[], Status] | None = None,
    title: str = "Shoptalk",
    turns_at_once: int = 8,
    queue_length: int = 32,
) -> gr.Blocks:
    """Make the page over one opened assistant, shared by every visitor; nothing is sent anywhere else."""
    catalog = assistant.shop.catalog.items
    known = {user_id for _, user_id in shoppers}

    def picture(talk: Talk) -> tuple[Any, ...]:
        """Give every output that a turn changes, in the order of `changing`."""
        shown, tastes = talk.cart(), talk.memory()
        last = talk.shown()
        messages = [
            message
            for number, view in enumerate(talk.views)
            for message in _messages(
                view,
                number=number,
                live=last is not None and last[0] == number,
                newest=number == len(talk.views) - 1,
                in_cart=dict(shown),
                liked={item_id for kept in tastes if kept.kind == "like" for item_id in kept.item_ids},
                disliked={item_id for kept in tastes if kept.kind == "dislike" for item_id in kept.item_ids},
            )
        ]
        running = bool(talk.views) and talk.views[-1].state == "running"
        some = bool(talk.views) and not running
        return (
            messages,
            cart(shown, catalog=catalog),
            memory(tastes),
            gr.update(visible=not running),
            gr.update(visible=running),
            gr.update(interactive=some),
            gr.update(interactive=some),
            gr.update(interactive=some),
        )

    def run(talk: Talk, said: Said | Callable[[], Said], *, patience: float = 0.0) -> Iterator[tuple[Any, ...]]:
        """Run a turn; a handler must yield, so nothing is changed where nothing can be done."""
        with closing(talk.say(said, patience=patience)) as views:
            try:
                for _ in views:
                    yield picture(talk)
            except ShopError as error:
                gr.Warning(plain(error), title="")
                yield unchanged()
            except Exception:
                yield picture(talk)
                raise

    def unchanged() -> tuple[Any, ...]:
        return tuple(gr.skip() for _ in changing)

    def send(talk: Talk, text: str) -> Iterator[tuple[Any, ...]]:
        if not text.strip():
            gr.Info("Write what you are looking for, then press Send.", title="")
            yield (gr.skip(), *unchanged())
            return
        before = len(talk.views)
        for outputs in run(talk, text):
            # Emptied once: the next message may be typed while this one is answered.
            began, before = len(talk.views) > before, len(talk.views)
            yield ("" if began else gr.skip(), *outputs)

    def choose_option(talk: Talk, event: gr.SelectData) -> Iterator[tuple[Any, ...]]:
        value = event.value.get("value") if isinstance(event.value, dict) else event.value

        def reply() -> Said:
            offered = talk.views[-1].quick_replies if talk.views else ()
            if value not in offered:
                raise ShopError("That is no longer on offer. Just say what you would like.")
            return str(value)

        yield from run(talk, reply, patience=PATIENCE)

    def pressed(talk: Talk, event: gr.EventData) -> Iterator[tuple[Any, ...]]:
        data = event._data if isinstance(event._data, dict) else {}
        name = str(data.get("press", ""))

        def button() -> Said:
            last = talk.shown()
            at = _number(data.get("position"))
            if last is None or last[0] != _number(data.get("turn")) or not 1 <= at <= len(last[1].cards):
                raise ShopError("That list is no longer the last one. Use the buttons on the newest list.")
            call, said = press(name, item=last[1].cards[at - 1].recommendation.item, position=at)
            return Press(call=call, said=said)

        if name in ("why", "add", "like", "dislike"):
            yield from run(talk, button, patience=PATIENCE)
            return
        try:
            _edit(talk, name, data)
        except ShopError as error:
            gr.Warning(plain(error), title="")
        yield picture(talk)

    def retry(talk: Talk) -> Iterator[tuple[Any, ...]]:
        try:
            said = talk.undo()
        except ShopError as error:
            gr.Warning(plain(error), title="")
            said = None
        if said is None:
            yield unchanged()
        else:
            yield from run(talk, said)

    def undo(talk: Talk) -> tuple[Any, ...]:
        try:
            said = talk.undo()
        except ShopError as error:
            gr.Warning(plain(error), title="")
            return (gr.skip(), *unchanged())
        return (said if isinstance(said, str) else gr.skip(), *picture(talk))

    def choose_shopper(talk: Talk, user_id: str | None) -> tuple[Any, ...]:
        try:
            talk.begin(user_id if user_id in known else None)
        except ShopError as error:
            gr.Warning(plain(error), title="")
        return picture(talk)

    def start_over(talk: Talk) -> tuple[Any, ...]:
        return choose_shopper(talk, talk.user_id)

    with gr.Blocks(analytics_enabled=False, title=title, fill_width=True, elem_id="st-page") as page:
        talk = gr.State(None)
        gr.HTML(
            f'<header class="st-header"><h1>{plain(title)}</h1><p>Ask for what you need. Every reason shown is why '
            "the item really ranks where it does.</p></header>",
            elem_classes="st-plainhtml",
        )
        with gr.Row(equal_height=False, elem_classes="st-columns"):
            with gr.Column(scale=7, min_width=420, elem_classes="st-left"):
                bot = gr.Chatbot(
                    label="Talk",
                    show_label=False,
                    elem_id="st-talk",
                    height="calc(100vh - 170px)",
                    min_height=320,
                    sanitize_html=True,
                    render_markdown=False,
                    latex_delimiters=[],
                    allow_tags=False,
                    buttons=[],
                    feedback_options=None,
                    layout="bubble",
                    placeholder=_PLACEHOLDER,
                )
                with gr.Row(elem_classes="st-entry", equal_height=True):
                    box = gr.Textbox(
                        label="Your message",
                        show_label=False,
                        container=False,
                        placeholder="What are you looking for?",
                        lines=1,
                        max_lines=5,
                        autofocus=True,
                        scale=8,
                        elem_id="st-box",
                        html_attributes=gr.InputHTMLAttributes(enterkeyhint="send"),
                    )
                    send_button = gr.Button("Send", variant="primary", scale=1, min_width=84, elem_id="st-send")
                    stop_button = gr.Button(
                        "Stop", variant="stop", scale=1, min_width=84, visible=False, elem_id="st-stop"
                    )
                with gr.Row(elem_classes="st-actions"):
                    retry_button = gr.Button("Retry", size="sm", min_width=60, interactive=False, elem_id="st-retry")
                    undo_button = gr.Button("Undo", size="sm", min_width=60, interactive=False, elem_id="st-undo")
                    over_button = gr.Button("Start over", size="sm", min_width=60, interactive=False, elem_id="st-over")
                    light = gr.HTML(_status(status), elem_id="st-status", elem_classes="st-plainhtml")
            with gr.Column(scale=4, min_width=300, elem_classes="st-right"):
                shopper = gr.Dropdown(
                    choices=[(NEW, ""), *shoppers],
                    value="",
                    label="Who is shopping",
                    elem_id="st-shopper",
                    filterable=False,
                )
                with gr.Column(elem_classes="st-panel"):
                    gr.HTML("<h2>Cart</h2>", elem_classes="st-plainhtml")
                    cart_panel = gr.HTML(cart((), catalog=catalog), elem_id="st-cart", elem_classes="st-plainhtml")
                with gr.Column(elem_classes="st-panel"):
                    gr.HTML("<h2>What I remember</h2>", elem_classes="st-plainhtml")
                    memory_panel = gr.HTML(memory(()), elem_id="st-memory", elem_classes="st-plainhtml")
                with gr.Column(elem_classes="st-panel"):
                    gr.HTML("<h2>Try</h2>", elem_classes="st-plainhtml")
                    with gr.Row(elem_classes="st-examples"):
                        tries = [gr.Button(example, size="sm", min_width=120) for example in examples]
        bridge = gr.HTML("", js_on_load=SCRIPT.read_text(encoding="utf-8"), elem_classes="st-bridge")

        changing = [bot, cart_panel, memory_panel, send_button, stop_button, retry_button, undo_button, over_button]
        turn: dict[str, Any] = {
            "show_progress": "hidden",
            "api_visibility": "private",
            "concurrency_id": "turn",
            "concurrency_limit": turns_at_once,
            "trigger_mode": "multiple",
        }
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
        gr.on([box.submit, send_button.click], send, [talk, box], [box, *changing], **turn)
        bot.option_select(choose_option, talk, changing, **turn)
        bridge.press(pressed, talk, changing, **turn)
        retry_button.click(retry, talk, changing, **turn)
        for button, example in zip(tries, examples, strict=True):
            button.click(lambda kept, text=example: (yield from run(kept, text)), talk, changing, **turn)
        undo_button.click(undo, talk, [box, *changing], **turn)
        stop_button.click(lambda kept: kept.stop(), talk, None, **quiet)
        over_button.click(start_over, talk, changing, **quiet)
        shopper.input(choose_shopper, [talk, shopper], changing, **quiet)

        # A tab that is closed frees its session at once; Gradio itself forgets a tab's state only much later.
        talks: dict[str, Talk] = {}

        def arrive(request: gr.Request) -> Talk:
            fresh = talks[str(request.session_hash)] = Talk(assistant=assistant)
            return fresh

        def leave(request: gr.Request) -> None:
            gone = talks.pop(str(request.session_hash), None)
            if gone is not None:
                gone.close()

        page.load(arrive, None, talk, **quiet)
        page.unload(leave)
        if status is not None:
            gr.Timer(3.0).tick(lambda: _status(status), None, light, **quiet)
    page.queue(max_size=queue_length, default_concurrency_limit=turns_at_once)
    return page


def launch_page(page: gr.Blocks, *, host: str, port: int) -> str:
    """Serve the page from a thread and give its address; `page.close()` ends it.

    Raises:
        ShopError: when the port is taken or the host is not this machine's.
    """
    check_port(host, port)
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        inbrowser=False,
        prevent_thread_lock=True,
        show_error=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        ssr_mode=False,
        theme=gr.themes.Base(
            primary_hue="emerald",
            neutral_hue="stone",
            radius_size="lg",
            font=["ui-sans-serif", "system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        css=STYLE.read_text(encoding="utf-8"),
    )
    return f"http://{host}:{port}"


def _messages(
    view: View,
    *,
    number: int,
    live: bool,
    newest: bool,
    in_cart: dict[str, int],
    liked: set[str],
    disliked: set[str],
) -> list[gr.ChatMessage]:
    """Write one turn as the chat's messages: what was said, the folded steps, the list, the reply."""
    messages = [gr.ChatMessage(role="user", content=prose(view.said))]
    running = view.state == "running"
    if view.steps:
        lines = [f"<li><strong>{plain(step(one.name))}</strong> {plain(_detail(one))}</li>" for one in view.steps]
        heading = step(view.steps[-1].name) if len(view.steps) == 1 else f"{len(view.steps)} steps"
        messages.append(
            gr.ChatMessage(
                content=gr.HTML(f'<ol class="st-steps">{"".join(lines)}</ol>', apply_default_css=False),
                metadata={"title": heading, "status": "done"},
            )
        )
    elif running:
        messages.append(gr.ChatMessage(content="", metadata={"title": "Thinking", "status": "pending"}))
    if view.cards:
        content = cards(view.cards, turn=number, live=live, in_cart=in_cart, liked=liked, disliked=disliked)
        messages.append(gr.ChatMessage(content=gr.HTML(content, apply_default_css=False)))
    messages += [_notice(text) for text in view.notices]
    if view.sentences:
        messages.append(gr.ChatMessage(content=prose(view.reply)))
    if view.looked:
        messages.append(gr.ChatMessage(content=gr.HTML(bars(view.looked), apply_default_css=False)))
    if view.ending:
        messages.append(_notice(view.ending))
    if newest and not running and view.quick_replies and messages[-1].role == "assistant":
        messages[-1].options = [{"value": reply, "label": visible(reply)} for reply in view.quick_replies]
    return messages


def _notice(text: str) -> gr.ChatMessage:
    return gr.ChatMessage(content=gr.HTML(f'<p class="st-notice">{plain(text)}</p>', apply_default_css=False))


def _detail(called: Any) -> str:
    given = arguments(called.arguments)
    return " → ".join(part for part in (given, called.summary) if part)


def _edit(talk: Talk, name: str, data: dict[str, Any]) -> None:
    """Carry out a button of the cart or of the memory; a button that is not there does nothing."""
    item_id = str(data.get("item", ""))
    held = dict(talk.cart()).get(item_id, 0)
    if name in ("more", "less", "remove") and held:
        talk.set_quantity(item_id, {"more": held + 1, "less": held - 1, "remove": 0}[name])
    elif name == "forget":
        talk.forget([_number(data.get("memory"))])
    elif name == "forget-all":
        talk.forget(None)


def _number(value: object) -> int:
    return int(value) if isinstance(value, str) and value.isdigit() else value if isinstance(value, int) else -1


def _status(status: Callable[[], Status] | None) -> str:
    now = status() if status is not None else Status(text="")
    light = "st-on" if now.ready and now.good else "st-off" if now.ready else "st-wait"
    return f'<p class="st-status {light}" role="status">{plain(now.text)}</p>' if now.text else ""


_PLACEHOLDER = (
    '<div class="st-hello"><strong>What can I find for you?</strong><span>Say what you need, for whom, and what it may '
    "cost. Then ask why, ask for cheaper, or put it in the cart.</span></div>"
)
