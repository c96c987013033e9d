"""The words by which servers report each kind of error: a new server or text is a row here.

A row applies to responses with one of its statuses; NO_STATUS stands for an error in a stream or in a response whose
status is a success. The first row that matches counts, so the order is part of the table.
"""

from __future__ import annotations

import functools
import re

from msgspec import Struct

from router.formats.text import late_pattern
from router.wire.errors.kinds import Kind

NO_STATUS = 0

_REQUEST = frozenset({400, 404, 405, 413, 422, 424})
_BROKEN = frozenset({500, 501, 502, 503, NO_STATUS})
_LIMITS = frozenset({402, 403, 413, 429, 529})
_REFUSED = frozenset({401, 403})
_ANY = _REQUEST | _BROKEN | _LIMITS | _REFUSED | {408, 409, 451, 498, 504}


class Words(Struct, frozen=True):
    """One row. `pattern`, in lower case, is searched in the lines `field: value` of the error in lower case."""

    kind: Kind
    statuses: frozenset[int]
    source: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """The compiled `source`."""
        return _compiled(self.source)


# At the first error: compiling all patterns takes longer than the rest of a decision on the command line.
_compiled = functools.cache(re.compile)


def _row(kind: Kind, statuses: frozenset[int], *patterns: str) -> Words:
    return Words(kind, statuses, "|".join(patterns))


WORDS: tuple[Words, ...] = (
    # A rate that this request alone exceeds: OpenAI, Groq, GitHub Models.
    _row(
        "request_rate",
        _REQUEST | _LIMITS | _BROKEN,
        r"request too large.{0,200}(per min|\btpm\b)",
        r"tokens_limit_reached",
    ),
    # Credit, billing, arrears: Anthropic, OpenAI, DeepSeek, Moonshot, OpenRouter, DashScope, xAI, Zhipu, Hugging Face.
    _row(
        "credit",
        _ANY,
        r"credit balance",
        r"insufficient[ _](?:credits?|funds|balance|quota)",
        r"(?:no|not enough|out of|more|any) (?:credits?|funds|balance)\b",
        r"credits? (?:are|is|have been)? ?(?:depleted|exhausted|used up|insufficient)",
        r"(?:credits|balance) (?:is|are) (?:too low|exhausted|empty|insufficient)",
        r"exceeded_current_quota",
        r"billing_(?:hard_limit|not_active|error)|billing hard limit",
        r"check your billing|billing (?:account )?(?:is )?(?:not|disabled|required)|payment required|overdue",
        r"arrear|account is in good standing",
        r"spend(?:ing)? limits?|specified api usage limits",
        r"monthly included credits|can only afford|please recharge",
        r"余额不足|欠费|额度不足|预扣费额度失败|insufficient_user_quota",
    ),
    # Keys and accounts that are refused.
    _row(
        "key",
        _REQUEST | _REFUSED | _BROKEN,
        r"(?:invalid|incorrect|wrong|missing|expired|revoked|disabled|unknown)\b.{0,20}"
        r"(?:api[ _-]?|x-api-|secret |access |auth\w* )(?:key|token)",
        r"api[ _-]?key\b.{0,60}"
        r"(?:not valid|invalid|incorrect|expired|missing|required|revoked|disabled|suspended|not found|leaked|wrong)",
        r"invalid_api_key|api_key_invalid|authentication_error|authenticationerror|unauthenticated",
        r"consumer_suspended",
        r"invalid authentication|authentication (?:failed|fails|credentials)|no auth credentials|login fail",
        r"security token included|unrecognizedclient|invalidsignature|expiredtoken|signature we calculated",
        r"(?:organization|account|user|project)\b.{0,30}(?:disabled|deactivated|suspended|banned)",
        r"account_deactivated",
    ),
    # Models that the server does not have.
    _row(
        "model_not_found",
        _REQUEST | _REFUSED | {500, NO_STATUS},
        r"model_?[ _]?not_?[ _]?(?:found|exist\w*)|model_decommissioned|not a valid model|invalid model\b",
        r"no models? loaded|模型不存在|无可用渠道|no available channel|no 'model_name' with",
        r"(?:no such|unknown) model|model identifier is invalid|deployment\w*\b.{0,20}not (?:found|exist)",
        r"model\b.{0,200}"
        r"(?:not found|does not exist|doesn't exist|not exist\b|deco"
        r"mmissioned|deprecated|retired|not deployed|not loaded)",
    ),
    # A service that the account may not use: Google, Anthropic, OpenAI, Bedrock, OpenRouter.
    _row(
        "permission",
        _REQUEST | _REFUSED | {429, 451, NO_STATUS},
        r"(?:country|region|location|territory)\b.{0,40}not (?:supported|available|allowed)|unsupported_country",
        r"not available in your (?:country|region|location)",
        r"organization must be verified|must be verified to",
        r"not (?:yet )?(?:available|enabled|included) (?:for|in|on|w"
        r"ith) (?:this|your) (?:subscription|plan|tier|account|organi[sz]ation|project)",
        r"upgrade .{0,40}\b(?:plan|tier|account|subscription)\b",
        r"\b(?:paid|higher|pro|enterprise|free) (?:plan|tier)\b",
        r"extra usage is required|your extra usage|credential is only authorized",
        r"do(?:es)? not have (?:access|permission)|don't have (?:access|permission)",
        r"not authorized to (?:access|perform|invoke)",
        r"permission[_ ]?denied|permission_error|accessdenied|service_disabled|data policy",
        r"on-demand throughput isn",
        r"has not activated the model",
        r"missing scopes?\b|insufficient permissions?\b",
    ),
    # Rates: every server.
    _row(
        "quota",
        _LIMITS | _BROKEN | {400},
        r"resource_exhausted",
        r"\b(?:per|a) (?:day|week|month)\b|per-day|perday|\b(?:tpd|rpd)\b",
        r"(?:daily|weekly|monthly|usage)[ _](?:limit|quota)|/ ?(?:day|month)\b",
        r"quota\b.{0,60}(?:exceeded|exhausted|reached)|(?:exceeded|exhausted|reached|out of)\b.{0,60}\bquota",
    ),
    _row(
        "rate",
        _LIMITS | _BROKEN | {400, 498},
        r"rate[ _-]?limit|too many requests|toomanyrequests|throttl|\b(?:tpm|rpm|qps|qpm)\b",
        r"(?:requests?|tokens?) per (?:second|minute|min)\b",
        r"concurren(?:t|cy)\b.{0,40}(?:limit|exceeded|reached)",
    ),
    # What a provider does not answer: OpenAI, Azure, Google, DashScope, DeepSeek, Zhipu, Bedrock, OpenRouter.
    _row(
        "content_filter",
        _REQUEST | _REFUSED | _BROKEN | {451},
        r"content[_ ]?(?:policy|filter)|contentpolicyviolation|content management policy|responsibleai",
        r"safety system|\bflagged\b|moderation|data_?inspection|inappropriate content|content exists risk",
        r"usage polic(?:y|ies)|guardrail|prohibited_content|blocked by (?:our|the) (?:safety|policy)|敏感",
    ),
    # More tokens than the model's context.
    _row(
        "context",
        _REQUEST | {500, 502, NO_STATUS},
        r"context_length_exceeded|exceed_context_size|context_?window_?exceeded|max_prompt_tokens_exceeded",
        r"(?:maximum|max|model'?s?|available|loaded with) context (?:length|size|window|limit)",
        r"context (?:length|size|window|limit)\b.{0,80}(?:exceed|overflow|is \d|of \d|:)",
        r"(?:exceed\w*|longer than|larger than|greater than|overflow\w*|beyond|fit\w*).{0,80}"
        r"context[ _](?:length|size|window|limit)",
        r"context the overflows|n_keep \(\d+\) >= n_ctx",
        r"(?:prompt|input|inputs|messages|conversation|request)\b.{0,20}"
        r" (?:is|are) too (?:long|large)\b(?!.{0,40}bytes)",
        r"prompt too long|too many (?:input |prompt )?tokens|input tokens exceeded",
        r"token count\b.{0,80}(?:exceed|only supports)",
        r"tokens?\b.{0,60}"
        r"(?:exceed\w*|cannot exceed|must be <=|larger than|longer than|greater than).{0,60}"
        r"(?:maximum|max|limit|length|total|\d)",
        r"prompt_tokens\b.{0,30}must be less than|prompt ?超长",
        r"must have less than \d+ tokens|maximum model length|maximum prompt length|(?:model )?token limit",
        r"reduce the length of (?:the|your)|exceeds max(?:imum)? length|number of tokens\b.{0,40}exceed",
        r"range of input length|expected maxlength",
    ),
    # What the model's chat template, or a rule about the order of roles, does not accept.
    _row(
        "template",
        _REQUEST | {500, NO_STATUS},
        r"system (?:message|role|prompt)\b.{0,40}(?:must be|at the beginning|first|not supported|only)",
        r"roles? must alternate|alternat\w+ .{0,40}roles?|only user and assistant roles|chat[ _]?template|jinja",
        r"unexpected role|expected last role|after the (?:optional )?system message|no user query",
        r"should alternate with",
        r"(?:assistant|message) prefill|conversation must end with|last message must|first message must",
        r"function (?:call|response) turn|number of function response parts",
    ),
    # Fields, values, features.
    _row(
        "unsupported",
        _REQUEST | {500, 501, NO_STATUS},
        r"unsupported|not[ _](?:currently |yet )?supported|(?:does|do|did)(?: not|n't) (?:currently |yet )?support",
        r"cannot (?:be used|accept|handle)|can't be used",
        r"not (?:allowed|permitted|accepted) (?:with|for|by|when|in|on)",
        r"unknown[ _](?:field|name|parameter|argument)|unknown_parameter",
        r"(?:unrecogni[sz]ed|unexpected)\b.{0,30}(?:argument|field|parameter|key|property)",
        r"extra_forbidden|extra inputs|extra fields|additional propert|cannot find field|no such field",
        r"no endpoints found that|is (?:unavailable|not available)\b|is not a (?:multimodal|chat|vision)",
        r"deprecated for this model|does not work with|must be less than or equal to|only .{1,20} is allowed",
        r"may only be set|only the default|must be (?:set )?\S* when (?:thinking|reasoning)|when thinking is enabled",
        r"requires? --|mmproj|--enable-auto-tool-choice|enable_thinking",
        r"reasoning_content|encrypted[_ ]content|thinking[ _]blocks?|`?signature`? in|thought_signature",
        r"maximum allowed number of output|supports at most|at most \d+ (?:images?|completion|output)",
        r"(?:supported|valid|allowed) range|invalid schema|response_format|tool[ _]choice|not implemented",
        r"budget_tokens",
    ),
    _row(
        "overloaded",
        _REQUEST | _LIMITS | _BROKEN | {498, 504},
        r"overload|at capacity|over capacity|capacity exceeded|insufficient capacity",
        r"no (?:available |idle )?capacity",
        r"(?:is|still|currently) (?:being )?load(?:ing|ed)|loading model|temporarily unavailable|serviceunavailable",
        r"model (?:has crashed|unloaded)",
        r"degraded function|no healthy upstream|modelnotready|server (?:is )?busy|try again later",
    ),
    # The request, at any server.
    _row(
        "invalid_request",
        frozenset({400, 422, NO_STATUS}),
        r"(?:could not|cannot|failed to|unable to) (?:parse|decode)\b.{0,30}json",
        r"json (?:decode|parse|syntax) error|json_invalid",
        r"(?:invalid|malformed) json\b(?! schema)|not valid json|body is not json|nan is not",
        r"at least one message is required|messages?\b.{0,30}(?:must not be empty|cannot be empty|is empty)",
        r"\[\] is too short - 'messages'",
        r"empty array.{0,40}'?messages|contents? (?:is|are) not specified|'messages' is a required",
    ),
    # The types of errors that state no more.
    _row("key", frozenset({NO_STATUS}), r"unauthorized|authentication"),
    _row("unknown", frozenset({NO_STATUS}), r"invalid_request|badrequest|invalid_argument|validationexception"),
)

# How many tokens of context a server has, as its error states it.
_LIMIT = late_pattern(
    "|".join(
        (
            r"n_ctx\D{1,4}(?P<n_ctx>\d+)",
            r"(?:context (?:length|size|window)|maximum model length|maximum prompt length|max(?:imum)? length)"
            r"(?: is| of| limit|:| \()* ?(?:only )?(?P<length>\d[\d,]*)",
            r"with (?P<mistral>\d+) maximum context",
            r"(?:tokens|limit:[^>\n]{0,40}) > (?P<anthropic>\d[\d,]*)",
            r"tokens allowed \((?P<gemini>\d+)\)",
            r"(?:supports up to|limit of|limit is|limit:|must be <=|less than|cannot exceed|exceeds limit)"
            r" (?P<other>\d[\d,]*)",
            r"\[1, ?(?P<range>\d+)\]",
        )
    )
)
# How long a server asks to wait, as its error states it.
_WAIT = late_pattern(
    r"(?:try again|retrydelay|retry|wait)\W{0,3}(?:in|after|for)?\W{0,2}"
    r"(?:(?P<m>\d{1,4})m(?!s))?(?:(?P<value>\d{1,6}(?:\.\d{1,6})?) ?(?P<unit>ms|m(?!s)|s|h)?)?",
)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def limit_tokens(text: str) -> int | None:
    """The server's context in tokens, from the words of its error; None where it states none."""
    found = _LIMIT.search(text)
    if found is None:
        return None
    digits = next(group for group in found.groups() if group)
    return int(digits.replace(",", "")) or None


def wait_s(text: str) -> float | None:
    """For how many seconds the server asks to wait, from the words of its error; None where it states none."""
    for found in _WAIT.finditer(text):
        minutes, value = found["m"], found["value"]
        if minutes or value:
            seconds = float(value) * _SECONDS[found["unit"] or "s"] if value else 0.0
            return 60.0 * int(minutes or 0) + seconds
    return None
