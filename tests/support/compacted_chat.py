"""A chat that is sent messages, answered and compacted by its transitions, without a model.

``shown`` is what the model is shown, written down a second time: the summary that covers most, and what
it does not cover.
"""

from uuid import UUID

from chatd.domain.chat import Chat, Usage
from chatd.domain.message import NewMessage, Role
from chatd.store.chats import Chats
from chatd.store.commands import FinishTurn
from chatd.store.compact import Compact
from chatd.store.database import Database
from chatd.store.messages import Messages
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken, Turns
from support.claims import claim_chats
from support.factories import MODEL, OWNER, WORKER, insert_models, text_content

PROMPT = "be brief"
SUMMARY_USAGE = Usage(input_tokens=100, output_tokens=10)


class CompactedChat:
    """A chat, and what is known of its history."""

    def __init__(self, database: Database, chat: Chat) -> None:
        self.database = database
        self.chat = chat
        self.messages: dict[int, str] = {}
        """Texts of the user and the assistant that are not superseded, by their ids."""
        self.summaries: dict[int, str] = {}
        """Texts of summaries that are not superseded, by the last message that each covers."""

    @classmethod
    async def create(cls, database: Database) -> "CompactedChat":
        """Create a chat with a system prompt."""
        await insert_models(database)
        created = await Chats(database).create(
            owner_id=OWNER, model_config_id=MODEL, system_prompt=PROMPT
        )
        return cls(database, created.chat)

    @property
    def id(self) -> UUID:
        """The id of the chat."""
        return self.chat.id

    @property
    def shown(self) -> list[str]:
        """The texts that the model is to be shown, in their order."""
        return [PROMPT, *self._covered_by(max(self.summaries, default=0))]

    def _covered_by(self, until: int) -> list[str]:
        summary = [self.summaries[until]] if until else []
        return [*summary, *(text for message, text in self.messages.items() if message > until)]

    def before(self, message_id: int) -> int:
        """Return the id of the message before this one."""
        return max(one for one in self.messages if one < message_id)

    async def history(self) -> list[str]:
        """Return the texts that the store shows the model."""
        history = await Turns(self.database).history(self.id)
        return [message.content[0]["text"] for message in history.messages]

    async def turn(self, text: str) -> int:
        """Send a message and answer it. Return its id."""
        sent = await Chats(self.database).send(self.id, owner_id=OWNER, content=text_content(text))
        self._stored(sent)
        await self.answer(f"answer to {text}")
        return sent.messages[0].id

    async def answer(self, text: str) -> None:
        """Claim the pending chat and answer it."""
        fence = await self._claim()
        answer = NewMessage(role=Role.ASSISTANT, content=text_content(text))
        command = FinishTurn(step=self.chat.committed_steps, messages=[answer], settled_part=0)
        self._stored(await Turns(self.database).apply(fence, command))

    async def compact(self, covers_until: int, text: str) -> TransitionResult:
        """Ask for a compaction and make it: the summary covers the messages up to this one."""
        await Messages(self.database).request_compaction(self.id, owner_id=OWNER)
        fence = await self._claim()
        turns = Turns(self.database)
        result = await turns.apply(fence, self.compaction(covers_until, text))
        self.summaries[covers_until] = text
        done = FinishTurn(step=result.chat.committed_steps, messages=[], settled_part=0)
        self.chat = (await turns.apply(fence, done)).chat
        return result

    def compaction(self, covers_until: int, text: str) -> Compact:
        """Return the command that stores this summary."""
        return Compact(
            step=self.chat.committed_steps,
            covers_until=covers_until,
            summary=NewMessage(role=Role.USER, content=text_content(text)),
            before_tokens=900,
            after_tokens=90,
            usage=SUMMARY_USAGE,
            settled_part=0,
        )

    async def edit(self, message_id: int, text: str) -> TransitionResult:
        """Replace a message of the user, which is not answered yet."""
        result = await Messages(self.database).edit(
            self.id, message_id, owner_id=OWNER, content=text_content(text)
        )
        self._reset(message_id, message_id)
        self._stored(result)
        return result

    async def regenerate(self, message_id: int) -> TransitionResult:
        """Have a message of the user answered again, without an answer yet."""
        result = await Messages(self.database).regenerate(self.id, message_id, owner_id=OWNER)
        self._reset(message_id + 1, message_id)
        self.chat = result.chat
        return result

    async def _claim(self) -> FencingToken:
        [claim] = await claim_chats(self.database, 1)
        self.chat = claim.result.chat
        return FencingToken(self.id, WORKER, self.chat.epoch)

    def _stored(self, result: TransitionResult) -> None:
        self.chat = result.chat
        self.messages |= {one.id: one.content[0]["text"] for one in result.messages}

    def _reset(self, first: int, answered: int) -> None:
        self.messages = {id_: text for id_, text in self.messages.items() if id_ < first}
        self.summaries = {until: text for until, text in self.summaries.items() if until < answered}
