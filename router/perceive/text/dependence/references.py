"""Words by which a turn refers to what went before it, by language.

| table | what its words do |
|---|---|
| `OPENERS` | join a turn to the one before: and, but, also, what about |
| `POINTERS` | stand for earlier text: it, that one, the same, above |
| `EDITS` | change an answer: shorter, again, instead, rewrite, continue |
| `ASKS` | those of `EDITS` that as often have an object of their own: translate, explain, show |

The words are in lower case. A phrase is joined by `_`. A pronoun that is an article too stands in `FILLERS` as well.
"""

OPENERS = {
    "en": "and but also or so then what_about how_about what_if how_come why_not then_what now besides otherwise"
    " whereas",
    "de": "und aber auch oder also dann was_ist_mit wie_wäre und_wenn jetzt außerdem sonst wieso_nicht warum_nicht"
    " sondern",
    "fr": "et mais aussi ou alors donc et_si maintenant sinon pourquoi_pas puis ensuite",
    "es": "y pero también o entonces qué_tal ahora además y_si si_no por_qué_no pues",
    "it": "e ma anche o allora quindi adesso ora inoltre altrimenti perché_no e_se poi invece",
    "pt": "e mas também ou então agora além e_se senão por_que_não que_tal",
    "nl": "en maar ook of dus dan hoe_zit nu en_als anders waarom_niet trouwens",
    "sv": "och men också eller så då nu annars varför_inte hur_är_det_med",
    "da": "og men også eller så nu ellers hvorfor_ikke hvad_med",
    "no": "og men også eller så da nå ellers hvorfor_ikke hva_med",
    "fi": "ja mutta myös tai entä entäs sitten nyt muuten miksi_ei",
    "pl": "a i ale też także albo więc to teraz co_z a_co wtedy czemu_nie dlaczego_nie",
    "cs": "a ale také taky nebo tak teď pak co_takhle jinak proč_ne a_co",
    "sk": "a ale tiež alebo tak teraz potom inak prečo_nie",
    "ro": "și si dar iar sau atunci deci acum de_ce_nu altfel",
    "hu": "és de is vagy akkor most mi_van_a különben miért_ne hát",
    "tr": "ve ama peki ya o_zaman şimdi ayrıca yoksa neden_olmasın fakat",
    "ru": "и а но или тогда также ещё еще теперь что_если как_насчёт как_насчет почему_нет иначе",
    "uk": "і й а але або тоді також ще тепер а_якщо як_щодо чому_ні інакше",
    "el": "και αλλά αλλα ή επίσης τότε τώρα λοιπόν γιατί_όχι",
    "ar": "و لكن ولكن أو ثم أيضا أيضاً إذن ماذا_عن وماذا_عن والآن الآن وماذا وإذا وهل ولماذا وكيف وما",
    "he": "ו אבל גם או אז עכשיו מה_עם ומה ואם ולמה ואיך",
    "fa": "و اما ولی یا پس حالا همچنین",
    "hi": "और लेकिन पर भी या तो अब फिर",
    "id": "dan tapi tetapi juga atau lalu sekarang bagaimana_dengan bagaimana_kalau kalau_begitu terus",
    "vi": "và nhưng cũng hoặc vậy còn thế_còn bây_giờ thì",
}

POINTERS = {
    "en": "it its that that's this these those them they same above previous previously earlier former latter there"
    " that_one this_one which_one ones both he she him her his you_said you_wrote you_mentioned you_mean so_far"
    " you_forgot",
    "de": "es das dies dieser diese dieses diesem diesen dem denen davon damit dazu daran darin dafür daraus sie ihn"
    " dasselbe gleiche gleichen gleich oben vorherige vorherigen vorhin letztere beide beides du_sagtest deine deinen"
    " so hier er ihm",
    "fr": "ça ca cela ceci celui celle ceux celles ce cette ces le_même la_même même y en lui eux elle il précédent"
    " précédente dessus ton ta tes votre vos tu_as_dit les_deux",
    "es": "así eso esto ese esa esos esas este esta estos estas aquello lo mismo misma anterior anteriores arriba"
    " ambos ellos ellas él ella dijiste tu tus hazlo hacerlo acortarlo resumirlo explicarlo traducirlo cambiarlo"
    " mejorarlo reescribirlo simplificarlo ponerlo",
    "it": "questo questa questi queste quello quella quelli quelle ciò lo stesso stessa sopra precedente precedenti"
    " entrambi tuo tua tuoi ne esso lui lei fallo farlo accorciarlo riscriverlo tradurlo spiegarlo cambiarlo",
    "pt": "isso isto esse essa esses essas este esta aquilo mesmo mesma acima anterior ambos ele ela eles disso nisso"
    " seu sua",
    "nl": "het dit dat deze die dezelfde hetzelfde bovenstaande vorige beide ervan ermee eraan hij zij ze hem je_zei"
    " jouw er",
    "sv": "det den detta denna dessa de dem samma ovan förra båda han hon din ditt dina",
    "da": "det den dette denne disse de dem samme ovenfor forrige begge han hun din dit dine",
    "no": "det den dette denne disse de dem samme ovenfor forrige begge han hun din ditt dine",
    "fi": "se sen sitä siitä siihen siinä sillä tämä tämän tätä tästä nuo ne niitä sama saman samaa yllä edellinen"
    " edellisen molemmat hän",
    "pl": "to tego tym temu ten ta te tę tej tych nich jego jej ich je go taki takie tamto samo sam powyżej powyższe"
    " poprzedni poprzednie oba twój twoja on ona",
    "cs": "to toho tom tomu tím ten ta tu té ty tyto toto totéž stejné stejný výše předchozí obojí jeho její jej ho"
    " tvůj on ona",
    "sk": "to toho tom tomu tým ten tá toto isté rovnaké vyššie predchádzajúce ho jeho jej",
    "ro": "asta aceasta acesta acela aceea aceste acestea acestor același aceeași mai_sus anterior el ea ei ambele",
    "hu": "ez ezt ennek ebben erre ebből az azt annak abban arra abból ezek azok ugyanez ugyanezt fenti előző"
    " mindkettő ő",
    "tr": "bu bunu bunun buna bunda bundan şu onu onun ona onda ondan bunlar bunları onlar aynı aynısı aynısını"
    " yukarıdaki önceki ikisi öyle böyle",
    "ru": "это этого этому этом этим этот эта эту эти этих то того тому том тот та их его её ее ему ней нём нем они он"
    " она оно такой такое такая так выше предыдущий предыдущее предыдущую оба твой твоя",
    "uk": "це цього цьому цим цей ця цю ці цих те того тому той їх його її йому вони він вона воно таке такий так вище"
    " попереднє попередній обидва твій твоя",
    "el": "αυτό αυτο αυτός αυτή αυτά αυτού το ίδιο παραπάνω προηγούμενο",
    "ar": "هذا هذه ذلك تلك هو هي هم نفس نفسه نفسها أعلاه السابق السابقة به بها فيه فيها منه منها له لها ذلك_أيضا",
    "he": "זה זאת זו את_זה אותו אותה אותם אלה אלו כנ_ל הקודם הקודמת לעיל שלו שלה",
    "fa": "این آن اینها آنها همان همین بالا قبلی او اون",
    "hi": "यह ये वह वे इसे इसको इसका इसकी इसके इसमें इससे उसे उसका उसकी उसके इन वही यही ऊपर पिछला पिछले",
    "id": "itu ini tersebut nya dia mereka sama yang_sama di_atas sebelumnya keduanya",
    "vi": "nó này đó kia đấy họ cái_này cái_đó điều_đó như_vậy như_trên ở_trên trước_đó giống_vậy cùng",
}

EDITS = {
    "en": "again once_more one_more check double-check more less shorter longer simpler clearer better faster smaller"
    " bigger easier instead else another other different differently next further rest remaining continue go_on"
    " keep_going shorten lengthen expand elaborate rewrite rephrase reword redo retry undo revert simplify summarize"
    " summarise clarify improve polish tweak adjust modify change replace remove delete drop add include fix correct"
    " repeat condense reformat refactor optimize optimise translate explain briefly formal informal casual friendlier"
    " professional funnier politer concise detailed step_by_step tl dr eli5 sure wrong right mistake show tell"
    " give make try use turn convert put cut trim tighten verify prove compare double_check start_over over_again"
    " leave_out without_the",
    "de": "nochmal noch_einmal noch_eins noch_ein mehr weniger kürzer länger einfacher klarer besser schneller kleiner"
    " größer stattdessen anders andere anderen anderes anderer weiter fortfahren weitermachen kürzen kürze erweitern"
    " erweitere umschreiben umformulieren formuliere vereinfache zusammenfassen fass fasse verbessern verbessere"
    " ändern ändere ersetze ersetzen entferne entfernen streiche hinzufügen füge ergänze korrigiere wiederhole"
    " übersetze übersetzen erkläre erklären erklär genauer ausführlicher knapper förmlicher formeller lockerer"
    " höflicher freundlicher schritt_für_schritt noch sicher falsch richtig mach zeig gib schreib_es nutze verwende"
    " nochmals streich kürz prüf prüfe nachprüfen überprüfe beweise vergleiche weglassen lass",
    "fr": "encore plus moins court courte long simple simplement mieux autre autres autrement différemment continue"
    " continuer raccourcis raccourcir allonge développe développer réécris réécrire reformule reformuler simplifie"
    " résume améliore change changer remplace supprime enlève ajoute ajouter corrige répète traduis traduire explique"
    " expliquer détaille détaillé formule reformule-le formel poli étape_par_étape sûr faux vrai plutôt suite bref"
    " refais montre donne fais utilise coupe vérifie prouve compare sans_la sans_le",
    "es": "otra otro otras vez más menos corto corta largo simple sencillo mejor distinto diferente continúa sigue"
    " acorta acórtalo amplía reescribe reescríbelo reformula simplifica resume resúmelo mejora cambia reemplaza quita"
    " elimina añade agrega corrige repite traduce tradúcelo explica explícalo detalle detalles formal amable"
    " paso_a_paso seguro verdad breve luego resto hazlo dame muestra usa ponlo verifica comprueba compara quítale"
    " sin_la sin_el",
    "it": "ancora più meno breve corto corta lungo semplice meglio altro altra altri diversamente continua accorcia"
    " accorcialo espandi riscrivi riscrivilo riformula semplifica riassumi migliora cambia sostituisci togli rimuovi"
    " aggiungi correggi ripeti traduci traducilo spiega spiegami dettagli formale cortese passo_passo sicuro vero"
    " resto fammi mostra dammi usa taglia verifica controlla confronta",
    "pt": "novamente novo mais menos curto curta longo simples melhor outro outra continua continue encurta encurte"
    " expande reescreve reescreva reformule simplifique resuma melhore mude troque remova tire adicione acrescente"
    " corrija repita traduza explique detalhes formal passo_a_passo certeza certo resto faz faça mostre dê use corte"
    " verifique compare",
    "nl": "opnieuw nogmaals nog meer minder korter langer eenvoudiger simpeler duidelijker beter anders ander andere"
    " verder ga_door inkorten kort verleng herschrijf herformuleer vereenvoudig samenvatten vat verbeter wijzig"
    " verander vervang verwijder haal voeg toe corrigeer herhaal vertaal leg uit uitleggen uitgebreider formeler"
    " stap_voor_stap zeker rest maak laat geef gebruik",
    "sv": "igen en_gång_till mer mindre kortare längre enklare tydligare bättre annan annat andra istället fortsätt"
    " förkorta korta utveckla skriv_om formulera_om förenkla sammanfatta förbättra ändra byt ersätt ta_bort lägg_till"
    " rätta upprepa översätt förklara utförligare steg_för_steg säker resten gör visa ge",
    "da": "igen mere mindre kortere længere enklere tydeligere bedre anden andet andre stedet fortsæt forkort uddyb"
    " omskriv omformuler forenkl opsummer forbedr ret ændr erstat fjern tilføj gentag oversæt forklar trin_for_trin"
    " sikker resten",
    "no": "igjen mer mindre kortere lengre enklere tydeligere bedre annen annet andre stedet fortsett forkort utdyp"
    " omskriv omformuler forenkle oppsummer forbedre endre bytt erstatt fjern gjenta oversett forklar vis gi sikker"
    " resten",
    "fi": "uudelleen uudestaan taas lisää vähemmän enemmän lyhyempi lyhyemmin pidempi yksinkertaisempi selkeämmin"
    " paremmin toinen toisen muu sijaan jatka lyhennä laajenna muotoile yksinkertaista tiivistä paranna muuta korvaa"
    " poista korjaa toista käännä selitä tarkemmin varma loput tee näytä anna",
    "pl": "znowu ponownie jeszcze raz więcej mniej krócej krótszy krótsza dłużej prościej jaśniej lepiej inny inna"
    " inne inaczej zamiast dalej kontynuuj skróć rozwiń przepisz przeredaguj uprość podsumuj popraw zmień zamień usuń"
    " dodaj powtórz przetłumacz wyjaśnij wytłumacz dokładniej szczegółowo krok_po_kroku pewien pewna reszta zrób pokaż"
    " daj podaj sprawdź porównaj",
    "cs": "znovu ještě jednou víc více méně kratší delší jednodušeji jasněji lépe jiný jiná jiné jinak místo dál"
    " pokračuj zkrať rozveď přepiš přeformuluj zjednoduš shrň vylepši změň nahraď odstraň přidej oprav zopakuj přelož"
    " vysvětli podrobněji krok_za_krokem jistý zbytek udělej ukaž dej",
    "sk": "znova ešte raz viac menej kratšie dlhšie jednoduchšie lepšie iný inak namiesto ďalej pokračuj skráť rozviň"
    " prepíš zjednoduš zhrň zmeň odstráň pridaj oprav zopakuj prelož vysvetli podrobnejšie",
    "ro": "iar din_nou încă_o_dată mai mult puțin scurt lung simplu bine alt altă alte altfel continuă scurtează"
    " extinde rescrie reformulează simplifică rezumă schimbă înlocuiește elimină adaugă corectează repetă tradu"
    " explică detaliat",
    "hu": "újra megint még_egyszer több kevesebb még rövidebb rövidebben hosszabb egyszerűbb egyszerűbben jobban másik"
    " más helyette folytasd rövidítsd bővítsd írd_át fogalmazd egyszerűsítsd foglald javítsd változtasd cseréld töröld"
    " vedd add_hozzá ismételd fordítsd magyarázd részletesebben biztos",
    "tr": "tekrar yine yeniden bir_daha daha az çok kısa kısaca uzun basit sade iyi başka diğer farklı yerine devam"
    " kısalt genişlet yeniden_yaz sadeleştir özetle iyileştir düzelt değiştir çıkar sil kaldır ekle tekrarla çevir"
    " açıkla ayrıntılı detaylı adım_adım emin doğru yanlış yap göster ver kontrol kontrol_et karşılaştır",
    "ru": "снова опять ещё_раз еще_раз больше меньше короче длиннее проще понятнее яснее лучше другой другая другое"
    " другие другую иначе вместо дальше продолжай продолжи сократи расширь перепиши переформулируй упрости подытожь"
    " улучши измени поменяй замени убери удали добавь исправь повтори переведи переведите объясни поясни подробнее"
    " формальнее вежливее пошагово уверен уверена точно правда неправильно остальное сделай покажи дай используй"
    " напиши_это кратко проверь сравни",
    "uk": "знову ще_раз більше менше коротше довше простіше зрозуміліше краще інший інша інше інакше замість далі"
    " продовжуй продовж скороти розшир перепиши переформулюй спрости підсумуй покращ зміни заміни прибери видали додай"
    " виправ повтори переклади поясни детальніше впевнений покроково решта зроби покажи дай перевір порівняй",
    "el": "ξανά πάλι περισσότερο λιγότερο πιο σύντομα σύντομο απλά καλύτερα άλλο άλλη αλλιώς συνέχισε συντόμευσε"
    " ανέλυσε γράψ ξαναγράψε απλοποίησε άλλαξε αφαίρεσε πρόσθεσε διόρθωσε επανάλαβε μετάφρασε εξήγησε αναλυτικά"
    " σίγουρος κάνε κάν δώσε δείξε",
    "ar": "مرة أخرى أكثر أقل أقصر أطول أبسط أوضح أفضل آخر غير مختلف بدلا تابع أكمل واصل اختصر اختصره لخص لخصه وسع أعد"
    " صياغة صغ بسط حسن غيره استبدل احذف أزل أضف صحح كرر ترجم ترجمه ترجمها اشرح وضح بالتفصيل تفصيلا متأكد صحيح خطأ خطوة"
    " بخطوة رسمي مختصر اجعله اجعلها",
    "he": "שוב עוד יותר פחות קצר ארוך פשוט טוב אחר אחרת במקום תמשיך המשך תקצר הרחב שכתב נסח פשט סכם תסכם שפר שנה החלף"
    " הסר תוסיף הוסף תקן חזור תרגם תרגמי תסביר הסבר בפירוט בטוח נכון",
    "fa": "دوباره باز بیشتر کمتر کوتاه‌تر کوتاهتر بلندتر ساده‌تر بهتر دیگر دیگری جایش ادامه خلاصه بازنویسی تغییر حذف"
    " اضافه اصلاح تکرار ترجمه توضیح مطمئنی",
    "hi": "फिर दोबारा और ज़्यादा ज्यादा कम छोटा छोटी छोटे लंबा आसान सरल बेहतर दूसरा दूसरी अलग बजाय जारी संक्षेप"
    " संक्षिप्त विस्तार बदलो बदलें हटाओ हटाएं जोड़ो जोड़ें सुधारो दोहराओ अनुवाद समझाओ समझाइए बताओ बताइए पक्का सही गलत"
    " करो करें बनाओ दो",
    "id": "lagi ulang ulangi lebih kurang pendek panjang sederhana jelas bagus lain lainnya berbeda alih lanjut"
    " lanjutkan singkat persingkat perluas tulis_ulang sederhanakan ringkas rangkum perbaiki ubah ganti hapus"
    " tambahkan tambah koreksi terjemahkan jelaskan rinci formal yakin benar salah buat coba gunakan",
    "vi": "lại lần_nữa nữa thêm hơn ít ngắn dài đơn_giản rõ tốt khác thay tiếp tiếp_tục rút_gọn mở_rộng viết_lại"
    " tóm_tắt sửa đổi xóa bỏ dịch giải_thích chi_tiết chắc đúng sai làm",
}

ASKS = (
    "translate explain show tell give make try use turn convert put include summarize summarise add fix remove change"
    " replace correct improve delete übersetze übersetzen erkläre erklären erklär mach zeig gib nutze verwende"
    " zusammenfassen fass fasse ändere ersetze traduis traduire explique expliquer montre donne fais utilise résume"
    " corrige traduce explica dame muestra usa resume cambia traduci spiega spiegami fammi mostra dammi riassumi"
    " traduza faz faça mostre dê resuma vertaal leg uitleggen maak laat geef gebruik översätt förklara gör visa ge"
    " oversæt forklar oversett vis gi käännä selitä tee näytä anna przetłumacz wyjaśnij wytłumacz zrób pokaż daj"
    " podaj popraw zmień přelož vysvětli udělej ukaž dej prelož vysvetli tradu explică fordítsd magyarázd çevir"
    " açıkla yap göster ver переведи переведите объясни поясни сделай покажи дай используй исправь переклади зроби"
    " μετάφρασε εξήγησε κάνε δώσε δείξε ترجم اشرح وضح תרגם תסביר הסבר ترجمه توضیح अनुवाद समझाओ समझाइए बताओ बताइए करो"
    " करें बनाओ दो terjemahkan jelaskan buat gunakan ubah dịch giải_thích sửa làm"
)
